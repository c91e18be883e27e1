//go:build !unix

package socketpair

import (
	"context"
	"net"
)

// New returns the two ends of a connection within this process, by way of the loopback interface.
func New() (a, b net.Conn, err error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil { //nolint:noctx // it is this machine
		return nil, nil, err
	}
	for {
		if b, err = l.Accept(); err != nil {
			_ = a.Close()
			return nil, nil, err
		}
		if b.RemoteAddr().String() == a.LocalAddr().String() {
			return a, b, nil
		}
		_ = b.Close() // a stranger
	}
}
