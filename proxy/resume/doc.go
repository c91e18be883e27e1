// Package resume carries one application's connection between two Culverts over any number of transports, one
// after the other. A transport may be lost at any byte: the connection waits, is attached to the next one, and
// goes on where the far end stands.
//
//	application's bytes <-> Stream <-> records, one in each message of a transport
//
// Stream is the byte stream: it counts the application's bytes of each direction from 0, keeps what the far end
// has not confirmed, grants and observes credit, and checks length and CRC32C at the end of input. It does no
// I/O, has no goroutine and no lock: its owner moves the bytes.
//
//	source                                  destination
//	Negotiate   plain bytes, HELLO -> mark  Hello             first connection of a tunnel stream
//	Open        OPEN                        Accept            later ones: both ends know records
//	Detach      (the transport is lost)     Detach
//	Resume      RESUME, or OPEN once more   Accept            the next transport
//
//	Next, Room, Fill     what to send       Receive, Took     what came, and what the application took of it
//	End, Close           the local ends     FarEnded, Closed  the far ends
//
// Registry knows the connections of a process by their random identities, while they are attached and, for
// the resume window, while they are not. Its Admit decides about an OPEN, which may come more than once, so that no
// connection is dialled twice. Memory bounds what all of them keep.
//
// The package knows no websockets, no tunnel frames and no sockets. docs/protocol.md, section 6, describes the
// records; testdata/vectors has examples, good and malformed.
package resume
