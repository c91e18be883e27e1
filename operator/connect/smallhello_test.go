package connect_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// narrow is a connection behind a middlebox that drops a first write above 1,400 bytes, and whose server gives up then.
type narrow struct {
	net.Conn

	sizes  *[2]atomic.Int32 // of the ClientHellos that were dropped, and of those that were not: the last one's
	begun  bool
	gaveUp atomic.Bool
}

func (n *narrow) Write(p []byte) (int, error) {
	if n.begun {
		return n.Conn.Write(p)
	}
	n.begun = true
	if len(p) <= 1400 {
		n.sizes[1].Store(int32(len(p)))
		return n.Conn.Write(p)
	}
	n.sizes[0].Store(int32(len(p)))
	time.AfterFunc(1100*time.Millisecond, func() {
		n.gaveUp.Store(true)
		_ = n.SetReadDeadline(time.Unix(1, 0))
	})
	return len(p), nil
}

func (n *narrow) Read(p []byte) (int, error) {
	got, err := n.Conn.Read(p)
	if err != nil && n.gaveUp.Load() {
		err = io.EOF
	}
	return got, err
}

// The data endpoint behind a middlebox that drops large ClientHellos is reached with a small one.
func TestTheDataEndpointIsReachedWhereLargeClientHellosAreDropped(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	c := newCloud(t, d.run)
	cfg := c.config()
	var sizes [2]atomic.Int32
	cfg.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &narrow{Conn: conn, sizes: &sizes}, nil
	}
	talk(t, dial(t, openTunnel(t, cfg, "SSH"), "SSH"), "hello")
	if sizes[0].Load() == 0 || sizes[1].Load() == 0 {
		t.Errorf("ClientHellos of %d bytes were dropped and of %d were not; want both", sizes[0].Load(), sizes[1].Load())
	}
}
