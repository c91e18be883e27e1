// Package openssh builds command lines for OpenSSH's client: its arguments, its ProxyCommand, and what its
// configuration says.
//
// It does not know how a thing is reached, nor how the program that reaches it takes its options.
package openssh
