package stream

import "net"

// Breaker is a connection to an application that learns otherwise than by a TCP reset that its connection
// did not end in order.
type Breaker interface {
	net.Conn
	// Break is called at most once, before Close, with the reason. It must not block or call this package.
	Break(reason Reason)
}

// breakOff makes the close of the target a reset, so that its application does not take what it has read
// for complete.
func (c *connection) breakOff() {
	target := beneath(c.target)
	if b, ok := c.target.(Breaker); ok {
		b.Break(c.watch.reason)
	} else if b, ok := target.(Breaker); ok {
		b.Break(c.watch.reason)
	}
	if t, ok := target.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0)
	}
}
