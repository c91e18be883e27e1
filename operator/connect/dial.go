package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/socketpair"
)

// Dial opens a connection to a service of a thing, with everything that takes: see [Open]. Closing the
// connection closes the tunnel if it was opened for it. For more than one connection use [Open] and
// [Tunnel.Dial].
func Dial(ctx context.Context, cfg Config, thing, service string) (net.Conn, error) {
	t, err := Open(ctx, cfg, thing, service)
	if err != nil {
		return nil, err
	}
	c, err := t.dial(ctx, service)
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	c.owned = true
	return c, nil
}

// Dial opens one more connection over the tunnel. The device never says whether the service took it: if it did
// not, the first Read fails or ends.
//
// Read returns io.EOF after an orderly end only. If the tunnel, the link or the device is lost it returns an
// *[Error] that says so.
//
// The connection has a CloseWrite, which says that nothing more will be written. The tunnel protocol has no
// such message: Culvert's daemon understands it all the same, with other devices it ends the connection.
func (t *Tunnel) Dial(ctx context.Context, service string) (net.Conn, error) {
	return t.dial(ctx, service)
}

func (t *Tunnel) dial(ctx context.Context, service string) (*conn, error) {
	near, end, err := socketpair.New()
	if err != nil {
		return nil, err
	}
	far := &farEnd{stream: end.(stream)}
	if err := t.Carry(ctx, service, far); err != nil {
		_, _ = near.Close(), far.Close()
		return nil, err
	}
	return &conn{Conn: near, far: far, tunnel: t, service: service}, nil
}

// stream is what both kinds of pairs are made of.
type stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// conn is the near end of a connection.
type conn struct {
	net.Conn

	far     *farEnd
	tunnel  *Tunnel
	owned   bool // the tunnel is closed with the connection
	service string
	closed  atomic.Bool

	ending sync.Once
	end    error // io.EOF, or why it was no orderly end
}

func (c *conn) RemoteAddr() net.Addr { return addr(c.tunnel.thing + "/" + c.service) }
func (c *conn) LocalAddr() net.Addr  { return addr("local") }

// Read is as [Tunnel.Dial] says.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		c.ending.Do(func() { c.end = c.why() })
		return 0, c.end
	}
	return n, err
}

// Bounds of what an end waits for to be explained.
const (
	// linkGrace is how long a websocket may take to end after the connections that it carried: its orderly
	// end takes a second. Half of it goes by before the device is looked at.
	linkGrace = 1200 * time.Millisecond
	// reasonTime is how long the control API is asked whether the tunnel itself has ended.
	reasonTime = 5 * time.Second
)

// why explains the end of what the tunnel sends.
func (c *conn) why() error {
	if c.closed.Load() {
		return io.EOF
	}
	ctx, cancel := context.WithTimeout(context.Background(), linkGrace+reasonTime)
	defer cancel()
	if e := c.tunnel.explain(c.service, c.far.why()); e != nil {
		return e
	}
	reset := c.far.reset.Load()
	if !reset && c.far.exact.Load() {
		return io.EOF
	}
	if reset && c.lostLink(linkGrace/2) {
		return c.lost(ctx)
	}
	// The service ends a lost device's connections in order.
	if c.tunnel.session.deviceLeft(ctx) {
		return &Error{
			Reason: DeviceGone, Text: c.tunnel.thing + " has left the tunnel",
			hint: "its network or culvertd has gone; run the command again",
		}
	}
	if !reset {
		return io.EOF
	}
	if c.lostLink(linkGrace / 2) {
		return c.lost(ctx)
	}
	return &Error{Reason: ConnectionReset, Text: c.service + " on " + c.tunnel.thing + " has reset the connection"}
}

// lostLink reports whether the websocket ends within wait.
func (c *conn) lostLink(wait time.Duration) bool {
	source := c.far.source.Load()
	if source == nil {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-source.Done():
		return true
	case <-timer.C:
		return false
	}
}

// lost explains the end of the websocket.
func (c *conn) lost(ctx context.Context) error {
	s := c.tunnel.session
	_, err := s.ready(ctx) // connects again, or finds the tunnel's end
	switch {
	case errors.Is(err, errStopped):
		return net.ErrClosed
	case err != nil && ctx.Err() == nil:
		return err
	}
	return &Error{
		Reason: LinkLost, Text: "the link to " + s.cfg.DataEndpoint + " was lost, and the connection with it",
		hint: "check the network, and run the command again",
	}
}

// IsCulvert reports whether a Culvert at the other end has answered.
func (c *conn) IsCulvert() bool { return c.far.exact.Load() }

// CloseWrite says that nothing more will be written.
func (c *conn) CloseWrite() error { return closeWrite(c.Conn) }

// Close closes the connection, and the tunnel if [Dial] opened it for this one.
func (c *conn) Close() error {
	c.closed.Store(true)
	err := c.Conn.Close()
	if c.owned {
		if closeErr := c.tunnel.Close(); err == nil {
			err = closeErr
		}
	}
	return err
}

// Abort is Close with a reset for the service, which may miss what was written last.
func (c *conn) Abort() error {
	c.closed.Store(true)
	_ = c.far.Close() // the tunnel takes it for a failure: of a pair's near end it would only see the end
	return c.Close()
}

// addr is a thing and its service.
type addr string

func (addr) Network() string  { return "tunnel" }
func (a addr) String() string { return string(a) }
