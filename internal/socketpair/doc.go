// Package socketpair connects two ends within this process. Unlike those of a net.Pipe they have buffers and a descriptor
// each, and can be half closed.
//
// It knows nothing of what they carry.
package socketpair
