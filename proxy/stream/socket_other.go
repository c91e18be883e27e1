//go:build !unix

package stream

import "net"

// socket needs descriptors that can be used without waiting; here every target takes the plain way.
type socket struct{}

func newSocket(net.Conn) *socket { return nil }

func (*socket) unsent() int                  { return 0 }
func (*socket) await() error                 { return nil }
func (*socket) tryRead([]byte) (int, error)  { return 0, nil }
func (*socket) tryWrite([]byte) (int, error) { return 0, nil }
