// Package holder shares one tunnel between the commands of a user, as ssh's ControlMaster shares a connection.
//
// A holder is a background process for one thing, seen with one identity ([Key]). It holds the thing's [connect.Tunnel]s and
// serves a Unix socket in a private directory ([Directory]). The first command starts it, later ones attach:
//
//	Client.Attach -> socket answers            -> attached
//	              -> no socket, or a stale one -> lock, listen, start the program with the listener -> attached
//
// A connection to the socket is one session: a request, events while the tunnel is being opened, an answer, and then,
// for a connection to a service, its bytes in frames. The holder ends, and closes the tunnels that it opened, when it
// has had no session for the time that the last session asked for.
//
// A client of another version makes the holder give way: it leaves the socket, so that the client can start another one. Its
// own clients keep their tunnel, and make further connections at an address of the holder's own, which the answer names.
//
// Nothing on the socket is secret from the user who owns it, and no other user can connect: the directory is private,
// and both sides check the other's user. Tokens and credentials never travel over it.
package holder
