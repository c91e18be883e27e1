package harness

import (
	"errors"
	"io"
	"net"
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

// Echo sends back what arrives until the connection's end.
func Echo(c net.Conn) { _, _ = io.Copy(c, c) }
