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

// resetOnExit sets what the target's application sees if this process dies now, killed or for want of memory. The kernel
// then closes the socket: with a reset if on is set, otherwise in order, as if all had been said. It must be off before
// an orderly close, which would drop what the kernel has not sent yet.
func (c *connection) resetOnExit(on bool) {
	t, ok := beneath(c.target).(interface {
		SetLinger(sec int) error
		SetNoDelay(noDelay bool) error // only TCP has both: others take SetLinger for the reset itself
	})
	if !ok {
		return
	}
	seconds := -1
	if on {
		seconds = 0
	}
	_ = t.SetLinger(seconds)
}

// Answerer is a local connection, given to [Source.Open], that wants to know when the destination has shown that it
// understands the connection's form, before the first byte of the target.
type Answerer interface {
	net.Conn
	// Answered is called once at most, on a goroutine of its own.
	Answered()
}

// answered tells the local connection that the destination has answered.
func (c *connection) answered() {
	if a, ok := c.target.(Answerer); ok {
		go a.Answered()
	}
}
