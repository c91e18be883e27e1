package stream

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// Reason is why a connection ended. It is one of those below, so that programs can rely on it.
type Reason string

// The reasons. Closed.Err tells when a limit of the service has ended the connection.
const (
	ByPeer     Reason = "peer"        // the far side ended the connection or its stream, or its half of it first
	ByTarget   Reason = "target"      // the target did so
	BrokenOff  Reason = "broken"      // reading from the target, or writing to it, failed
	Idle       Reason = "idle"        // one direction had ended, and the other one was silent for too long
	Stalled    Reason = "stalled"     // the target took nothing for too long
	Violation  Reason = "violation"   // the far side sent what the connection's form does not have
	TunnelLost Reason = "tunnel"      // the websocket ended
	Stopped    Reason = "stopped"     // this side's program stops
	HandedOver Reason = "handed_over" // another process goes on with it

	PeerStopped Reason = "peer_stopped" // the far side's program stops
	PeerForgot  Reason = "forgotten"    // the far side no longer knows the connection: it was restarted, or it waited too long
	PeerRefused Reason = "refused"      // the far side did not reach its target
	PeerLimit   Reason = "peer_limit"   // a limit of the far side
)

// reasonOfPeer is the reason for an end that the far side's CLOSE or GONE gave.
func reasonOfPeer(why resume.Reason) Reason {
	switch why {
	case resume.Stopped:
		return PeerStopped
	case resume.Unknown:
		return PeerForgot
	case resume.Refused:
		return PeerRefused
	case resume.LimitHit, resume.OutOfMemory:
		return PeerLimit
	case resume.Done, resume.Reset, resume.Protocol:
	}
	return ByPeer
}

// Opened describes a connection whose target is connected.
type Opened struct {
	Service    string // its own name, also where the wire has none
	Stream     int32
	Connection uint32 // 1 where the form has no connection ids
	Form       Form
	Target     net.Conn // the result of Dial, or Open's argument: do not use it
}

// Closed describes the end of a connection that was Opened. Where several processes had it in turn, each tells its part.
type Closed struct {
	Reason   Reason
	Err      error         // of the target, if there was one: a limit of its own, or a failure
	BytesIn  uint64        // that the target took
	BytesOut uint64        // that came from the target
	Duration time.Duration // since it was opened
	Resumed  int           // how often it continued over another websocket
	Detached time.Duration // without a websocket, in all
}

// Observer is called for each connection that was opened. What it returns, if not nil, is called at that
// connection's end. Both are called without a lock from the connection's own goroutine, which waits for
// them: one that blocks holds up no other connection, but it does hold up the tunnel's end.
type Observer func(Opened) func(Closed)

// watched is a connection's state for its observer.
type watched struct {
	reason Reason
	err    error
	opened time.Time     // when this process got the target
	before time.Duration // how long other processes had it
	closed func(Closed)
}

// setReason records why the connection ends. The first reason counts; if one side had ended its half before, that side
// is the reason.
func (c *connection) setReason(r Reason) {
	switch {
	case r == ByPeer && c.half.told && !c.half.ended:
		r = ByTarget
	case r == ByTarget && c.half.ended && !c.half.told:
		r = ByPeer
	}
	if c.watch.reason == "" && !c.closed {
		c.watch.reason = r
	}
}

// setTargetError records an error of the target that ends the connection.
func (c *connection) setTargetError(err error) {
	if errors.Is(err, io.EOF) {
		c.setReason(ByTarget)
		return
	}
	c.setReason(BrokenOff)
	if c.watch.err == nil {
		c.watch.err = err
	}
}

// tellOpened is called once the connection has its target, without mu.
func (c *connection) tellOpened() {
	if c.observer == nil {
		return
	}
	c.mu.Lock() // it may move to another websocket meanwhile
	opened := Opened{Service: c.s.name, Stream: c.s.id, Connection: c.id, Form: c.s.form, Target: c.target}
	c.mu.Unlock()
	c.watch.closed = c.observer(opened)
}

// tellClosed is called when the connection is over, without mu. No other goroutine has it then.
func (c *connection) tellClosed() {
	if c.watch.closed == nil {
		return
	}
	if c.watch.reason == "" {
		c.watch.reason = BrokenOff
	}
	e := Closed{
		Reason: c.watch.reason, Err: c.watch.err, BytesIn: c.in, BytesOut: c.out,
		Duration: time.Since(c.watch.opened), Resumed: c.resumed, Detached: c.away,
	}
	if err := c.expired(); err != nil {
		e.Err = err
	}
	c.watch.closed(e)
}

// expired is the limit of its own that a target broke off for, if it did.
func (c *connection) expired() error {
	if limited, ok := c.target.(interface{ Expired() error }); ok {
		return limited.Expired()
	}
	return nil
}

// whyBroken is why a target broke off, for the peer.
func (c *connection) whyBroken() resume.Reason {
	if c.expired() != nil {
		return resume.LimitHit
	}
	return resume.Reset
}
