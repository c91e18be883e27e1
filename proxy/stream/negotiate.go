package stream

import (
	"math/rand/v2"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// Two ends of this package agree to speak records, which package resume describes. docs/protocol.md, section 6,
// has the rules. Only connections in the form of V3 have them.
//
//	source -> STREAM_START or CONNECTION_START with a stream id that offers records, then at once an empty DATA
//	destination -> DATA with a HELLO record, before any byte of the target; then records
//	source -> plain DATA until it has seen HELLO, an empty DATA as a mark, then records
//
// A source that knows the destination, since it resumes a connection, says so by the stream id: then each
// connection begins with a record. To a destination that does not answer it stays plain.

const (
	// defaultAnswerTimeout is how long a source waits for a destination's HELLO, if its input ends before that
	// could be there.
	defaultAnswerTimeout = 5 * time.Second
	// firstTimeout is how long a destination waits for a source's empty DATA, which follows its start at once,
	// before it sends plain bytes of the target.
	firstTimeout = 500 * time.Millisecond
	// halfTimeout is how long one direction may be idle after the other has ended: a client that has gone for
	// good looks like one that only has nothing more to say.
	halfTimeout = 10 * time.Minute
)

// A stream id that offers records, from the highest of its 31 bits: magic (8), capabilities (8), random (15).
const (
	idMagic       = 0x6b
	capRecords    = 1 << 0
	capKnown      = 1 << 1 // each connection begins with a record
	idRandomBits  = 15
	idCapsBits    = 8
	idMagicOffset = idRandomBits + idCapsBits
)

// offeringID returns a random stream id that offers records.
func offeringID(known bool) int32 {
	caps := int32(capRecords)
	if known {
		caps |= capKnown
	}
	return idMagic<<idMagicOffset | caps<<idRandomBits | rand.Int32N(1<<idRandomBits) //nolint:gosec // uniqueness, not secrecy
}

// offers reports whether a stream id offers records, and whether each connection begins with one.
func offers(id int32) (records, known bool) {
	caps := id >> idRandomBits & (1<<idCapsBits - 1)
	if id>>idMagicOffset != idMagic || caps&capRecords == 0 || caps&^(capRecords|capKnown) != 0 {
		return false, false
	}
	return true, caps&capKnown != 0
}

// half is what a connection knows of its ends of input. It is guarded by the tunnel's lock.
type half struct {
	held   bool   // source: our input has ended, and HELLO may still come
	told   bool   // our input has ended
	ended  bool   // the peer's input has ended
	closed bool   // the target was told so
	first  Reason // which of them ended first
	timer  *time.Timer
	moved  uint64 // bytes both ways when the timer was set
}

// heard acts on a DATA message of the peer.
func (c *connection) heard(m *mux, payload []byte) {
	first := !c.seen
	c.seen = true
	switch {
	case c.carried:
		c.received(m, payload)
	case c.vacant:
		m.firstRecord(c, payload)
	case c.offered && m.source:
		if c.res.Answer(payload) {
			m.farEnd.speaksRecords()
			at, _ := c.res.At()
			m.resume.Remember(resume.Peer{At: at, Keeps: c.res.Keeps()})
			c.s.records, c.s.keeps = true, c.res.Keeps()
			c.carry()
			return
		}
		m.farEnd.unanswered = true
		c.stayPlain()
		m.deliver(c, payload)
	case c.offered && first && len(payload) == 0:
		c.greet()
	default:
		if c.offered {
			c.stayPlain()
			c.wake()
		}
		m.deliver(c, payload)
	}
	if c.failed && !c.closed {
		c.end(aborted, true)
	}
}

// awaitsFirst reports whether the peer's first message is still to show whether it understands a reason for the end.
// That message follows the start at once, but not always in the same piece.
func (c *connection) awaitsFirst() bool { return c.offered && !c.m.source && !c.seen && !c.closed }

// offer begins a connection of a source that may be carried in records.
func (c *connection) offer() {
	c.offered = true
	c.res = resume.New(c.m.resume.Memory)
	c.res.Negotiate()
	c.m.tell(c.s.message(frame.Data, c.id))
	if c.m.farEnd.unanswered {
		c.res.Forget()
	}
}

// greet answers a source that offers records with HELLO.
func (c *connection) greet() {
	c.res = resume.New(c.m.resume.Memory)
	c.res.Hello(resume.NewID(), c.m.resume.Address(), c.m.resume.Enabled())
	c.s.records = true
	c.carry()
}

// stayPlain ends the negotiation: the peer does not speak records.
func (c *connection) stayPlain() {
	c.offered = false
	if c.res != nil {
		c.res.Release()
		c.res = nil
	}
	if !c.half.held {
		c.stopTimer()
	}
}

// mustWait reports whether the target's bytes must wait for the peer's first message. It starts the timer that
// ends this wait.
func (c *connection) mustWait() bool {
	if !c.offered || c.m.source {
		return false
	}
	left := firstTimeout - time.Since(c.began)
	if left <= 0 {
		c.stayPlain()
		return false
	}
	if c.half.timer == nil {
		c.after(left, func() {
			c.stayPlain()
			c.wake()
		})
	}
	return true
}

// endInput is called when all that the target said was handed over in plain form, and reports whether the
// connection stays open: a HELLO may be under way.
func (c *connection) endInput() bool {
	switch {
	case !c.offered || !c.m.source, c.dead, c.state != open:
		return false
	case c.m.farEnd.answered:
		// The destination has answered before and will again, but a target that takes nothing may hold it up.
		return c.holdEnd(halfTimeout)
	case !c.m.farEnd.unanswered:
		return c.holdEnd(c.m.farEnd.timeout - time.Since(c.began))
	}
	return false
}

// holdEnd keeps the end of input back for a while.
func (c *connection) holdEnd(wait time.Duration) bool {
	if wait <= 0 {
		return false
	}
	c.half.held = true
	c.after(wait, func() {
		if c.half.held {
			c.m.farEnd.keptSilent()
			c.setReason(ByTarget)
			c.end(draining, true)
		}
	})
	return true
}

// mustCloseWriting reports whether the target's write side is still to be closed.
func (c *connection) mustCloseWriting() bool { return c.half.ended && !c.half.closed }

// watchIdle ends a connection whose one direction has ended, once nothing has moved for halfTimeout. It does not
// while the connection waits for a websocket.
func (c *connection) watchIdle() {
	c.half.moved = c.in + c.out
	c.after(halfTimeout, func() {
		if c.half.moved == c.in+c.out && !c.detached {
			c.why, c.broken = resume.LimitHit, true // the silent direction has not ended
			c.setReason(Idle)
			c.end(draining, true)
			return
		}
		c.watchIdle()
	})
}

// after calls f with the lock held unless the connection ends, or after is called again, before that.
func (c *connection) after(d time.Duration, f func()) {
	c.stopTimer()
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.half.timer == timer && !c.closed {
			c.half.timer = nil
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
