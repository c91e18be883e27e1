package connect

import (
	"context"
	"net"
)

// Dial opens a connection to a service of a thing, with everything that takes: see Open. Closing the connection closes
// the tunnel if it was opened for it. For more than one connection use Open and Tunnel.Dial.
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
	c.tunnel = t
	return c, nil
}

// Dial opens one more connection over the tunnel. The device never says whether the service took it: if it did not, the
// first Read fails or ends.
//
// The connection has a CloseWrite, which tells that nothing more will be written. The tunnel protocol has no such
// message: Culvert's daemon understands it all the same, with other devices it ends the connection.
func (t *Tunnel) Dial(ctx context.Context, service string) (net.Conn, error) {
	return t.dial(ctx, service)
}

func (t *Tunnel) dial(ctx context.Context, service string) (*conn, error) {
	near, far, err := pair()
	if err != nil {
		return nil, err
	}
	if err := t.Carry(ctx, service, far); err != nil {
		_, _ = near.Close(), far.Close()
		return nil, err
	}
	return &conn{Conn: near, remote: addr(t.thing + "/" + service)}, nil
}

// conn is the near end of a connection.
type conn struct {
	net.Conn

	remote addr
	tunnel *Tunnel // closed with it; nil if that is somebody else's business
}

func (c *conn) RemoteAddr() net.Addr { return c.remote }
func (c *conn) LocalAddr() net.Addr  { return addr("local") }

// CloseWrite says that nothing more will be written.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	if c.tunnel != nil {
		if closeErr := c.tunnel.Close(); err == nil {
			err = closeErr
		}
	}
	return err
}

// addr is a thing and its service.
type addr string

func (addr) Network() string  { return "tunnel" }
func (a addr) String() string { return string(a) }
