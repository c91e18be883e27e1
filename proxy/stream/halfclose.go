package stream

import (
	"errors"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// The protocol has no half close: the end of one side's input ends the connection for both, and a client that
// says "that was all, now answer" never gets its answer. Two peers of this package agree on one by means of DATA
// without payload, which the protocol allows and which says nothing to others. Only connections in the form of V3
// have it.
//
//	source -> STREAM_START or CONNECTION_START, then at once an empty DATA: "I know half close"
//	destination -> an empty DATA as soon as it sees that one: "so do I"
//	either -> a later empty DATA: "my input has ended"; the other one closes the writing side of its socket
//
// A connection whose both directions have ended is reset as ever. Each side says that its input has ended before
// it resets in order, also where nothing more can follow. A reset without that is a broken end. A destination sends none of this to a source that did not begin with it, and a source to a destination
// that did not answer sends nothing but the first message.

const (
	// defaultAnswerTimeout is how long a source waits for a destination's word that it knows half close, if its input
	// ends before that could be there.
	defaultAnswerTimeout = 5 * time.Second
	// firstTimeout is how long a destination waits for a source's first message, which follows its start at once,
	// if the target ends before.
	firstTimeout = 500 * time.Millisecond
	// halfTimeout is how long one direction may be idle after the other has ended: a client that has gone for
	// good looks like one that only has nothing more to say.
	halfTimeout = 10 * time.Minute
)

// half is what a connection knows of its half close. It is guarded by mux.mu.
type half struct {
	seen   bool // destination: the peer's first message came
	peer   bool // the peer knows half close
	held   bool // our input has ended, and nobody knows yet whether the peer knows half close
	told   bool // the peer was told that our input has ended
	ended  bool // the peer's input has ended
	closed bool // the target was told so
	timer  *time.Timer
	moved  uint64 // bytes both ways when the timer was set
}

// canHalfClose tells whether half close may be spoken about on the connection at all.
func (c *connection) canHalfClose() bool { return c.m.halfClose && c.s.form.Connection }

// announceHalf tells the peer that this side knows half close.
func (c *connection) announceHalf() { c.m.tell(c.s.message(frame.Data, c.id)) }

// heard takes note of a DATA message of the peer, and tells whether it was about half close only.
func (c *connection) heard(payload []byte) bool {
	first := !c.half.seen
	c.half.seen = true
	switch {
	case !c.canHalfClose():
		return false
	case c.half.ended:
		if len(payload) > 0 {
			c.m.warn("after the end "+c.s.name, "data after the end of input ignored", "service", c.s.name, "stream", c.s.id, "connection", c.id)
		}
		return true
	case len(payload) > 0:
		if c.half.held && !c.m.source {
			c.setReason(ByTarget)
			c.end(draining, true) // the source does not know half close
		}
		return false
	case c.half.peer:
		c.peerEnded()
	case c.m.source, first:
		// A source takes the answer to what it began with also behind data, which may have overtaken it.
		c.half.peer, c.m.unanswered, c.m.answered = true, false, true
		if !c.m.source {
			c.announceHalf()
		}
		if c.half.held {
			c.tellEnd()
		}
	}
	return true
}

// endInput is called when all that the target said was handed over, and tells whether the connection stays open
// for the other direction.
func (c *connection) endInput() bool {
	h := &c.half
	switch {
	case h.peer && (h.ended || c.dead) && c.state == open:
		// The peer is told of the end in order; what remains of the connection ends with it.
		c.setReason(ByTarget)
		h.told = true
		c.announceHalf()
		c.end(draining, true)
	case !c.canHalfClose(), c.dead, h.ended, c.state != open:
		return false
	case h.peer:
		c.tellEnd()
	case c.m.source && c.m.answered:
		// The destination has answered before and will again, but a target that takes nothing may hold it up.
		return c.holdEnd(halfTimeout)
	case c.m.source && !c.m.unanswered:
		return c.holdEnd(c.m.answerTimeout - time.Since(c.began))
	case !c.m.source && !h.seen:
		return c.holdEnd(firstTimeout - time.Since(c.began))
	default:
		return false
	}
	return true
}

// holdEnd keeps the end of input back for a while: the peer's word that it knows half close may be under way.
func (c *connection) holdEnd(wait time.Duration) bool {
	if wait <= 0 {
		return false
	}
	c.half.held = true
	c.after(wait, func() {
		if c.half.held {
			c.m.unanswered, c.m.answered = true, false
			c.setReason(ByTarget)
			c.end(draining, true)
		}
	})
	return true
}

// tellEnd sends the end of input, behind all data: what is told now goes into the next message.
func (c *connection) tellEnd() {
	c.half.held, c.half.told = false, true
	c.announceHalf() // the same message, which now means the end
	c.watchIdle()
}

// peerEnded notes that no more will come. What came is still written, then the target is told.
func (c *connection) peerEnded() {
	if c.half.told {
		c.setReason(ByPeer)
		c.end(draining, true) // both directions have ended
		return
	}
	c.half.ended = true
	c.settle()
	c.watchIdle()
}

// mustCloseWriting tells whether the target has yet to be told that no more will come.
func (c *connection) mustCloseWriting() bool { return c.half.ended && !c.half.closed }

// closeWriting tells the target that no more will come, with mu given up meanwhile.
func (c *connection) closeWriting() {
	c.half.closed = true
	h, ok := c.target.(interface{ CloseWrite() error })
	err := errors.ErrUnsupported
	if ok {
		c.m.unlock()
		err = h.CloseWrite()
		c.m.relock()
	}
	if errors.Is(err, errors.ErrUnsupported) {
		c.half.closed = false
		c.setReason(ByPeer)
		if !c.half.told {
			c.half.told = true
			c.announceHalf() // this end is in order, too
		}
		c.end(draining, true) // as the protocol has it
	}
}

// resetByPeer notes that the peer has reset the connection or its stream. A peer that knows half close has
// said before whether its input ended in order; for others the reset is the orderly end.
func (c *connection) resetByPeer() {
	c.broken = c.broken || c.half.peer && !(c.half.ended && c.half.told)
	c.setReason(ByPeer)
	c.end(draining, false)
}

// watchIdle ends the connection once nothing has moved for halfTimeout.
func (c *connection) watchIdle() {
	c.half.moved = c.in + c.out
	c.after(halfTimeout, func() {
		if c.half.moved == c.in+c.out {
			c.setReason(Idle)
			c.end(draining, true)
			return
		}
		c.watchIdle()
	})
}

// after calls f with mu held unless the connection ends, or after is called again, before that.
func (c *connection) after(d time.Duration, f func()) {
	c.stopTimer()
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		if c.half.timer == timer && !c.closed {
			f()
		}
	})
	c.half.timer = timer
}

func (c *connection) stopTimer() {
	if c.half.timer != nil {
		c.half.timer.Stop()
		c.half.timer = nil
	}
}
