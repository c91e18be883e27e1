// Package control is the way into a running daemon from its own machine: a unix socket that takes one
// request and gives one answer, each a line of JSON.
//
// It does not know what the commands do: a Handler answers them. A process that may open the socket may give
// any command; its mode and its directory's are the only guard.
package control
