package harness

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
)

// Serve accepts connections until l is closed, and runs handle for each, which it closes afterwards.
// Every handler runs in tasks. It returns an error if l fails otherwise.
func Serve(l net.Listener, tasks *sync.WaitGroup, handle func(net.Conn)) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		tasks.Go(func() {
			defer c.Close()
			handle(c)
		})
	}
}

// Pair returns both ends of a TCP connection on this machine.
func Pair() (near, far net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to wait for on this machine
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil { //nolint:noctx // it listens already
		return nil, nil, err
	}
	if far, err = l.Accept(); err != nil {
		_ = near.Close()
		return nil, nil, err
	}
	return near, far, nil
}

// DialHandler returns a TCP connection to handle, whose end it closes afterwards.
func DialHandler(handle func(net.Conn)) (net.Conn, error) {
	near, far, err := Pair()
	if err != nil {
		return nil, err
	}
	go func() {
		defer far.Close()
		handle(far)
	}()
	return near, nil
}

// Echo sends back what arrives until the connection's end.
func Echo(c net.Conn) { _, _ = io.Copy(c, c) }

// FilePair is [Pair] whose near end is a file, as one process passes it to another.
func FilePair() (near *os.File, far *net.TCPConn, err error) {
	a, b, err := Pair()
	if err != nil {
		return nil, nil, err
	}
	defer a.Close()
	if near, err = a.(*net.TCPConn).File(); err != nil {
		_ = b.Close()
		return nil, nil, err
	}
	return near, b.(*net.TCPConn), nil
}
