package stream

import (
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// input is the tunnel's bytes. Before a read that may have to wait, it writes what was deferred.
type input struct{ m *mux }

func (i input) Read(p []byte) (int, error) {
	if len(i.m.deferred) > 0 {
		i.m.mu.Lock()
		i.m.writeDeferred()
		i.m.mu.Unlock()
	}
	return i.m.cfg.Transport.Read(p)
}

// directly is the least that is written to a target straight from the frame it came in. Less is gathered
// in the inbox first: many small frames that came at once are one write.
const directly = 4 << 10

// deliver hands a payload to c's target, or to its inbox as far as the target does not take it now. Where
// the inbox is full the reader waits, for the protocol has no other way to slow the peer down. A target
// that takes nothing loses its connection meanwhile.
func (m *mux) deliver(c *connection, payload []byte) {
	if len(payload) == 0 {
		return
	}
	if c.inbox.empty() && (len(payload) >= directly || m.backlog.lowMemory()) {
		payload = payload[c.writeNow(payload):]
		if len(payload) == 0 || c.dead || c.state == aborted {
			return
		}
		if c.closed { // meanwhile, but this came before
			m.backlog.force(c.inbox.growth(len(payload)))
			m.keep(c, payload)
			c.settle()
			return
		}
	}
	if !m.awaitRoom(c, len(payload)) {
		return
	}
	m.keep(c, payload)
	if c.raw == nil || len(payload) >= directly {
		c.settle()
	} else if !c.deferred {
		c.deferred = true
		m.deferred = append(m.deferred, c)
	}
}

// keep puts a payload into c's inbox. The memory is reserved already.
func (m *mux) keep(c *connection, payload []byte) {
	if c.inbox.charged == 0 && c.target != nil {
		c.inbox.progress = time.Now() // it had nothing to take
	}
	m.backlog.put(&c.inbox, payload)
}

// writeDeferred writes what was gathered, as far as targets take it at once. The writers do the rest.
func (m *mux) writeDeferred() {
	for i, c := range m.deferred {
		m.deferred[i], c.deferred = nil, false
		for c.raw != nil && c.state == open && !c.writing && !c.dead && !c.inbox.empty() {
			b := c.inbox.take()
			b.done += c.writeNow(b.b[b.done:])
			if b.done == len(b.b) || c.dead || c.state == aborted {
				c.releaseChunk(b)
				continue
			}
			c.inbox.untake(b)
			break
		}
		c.settle()
	}
	m.deferred = m.deferred[:0]
}

// awaitRoom waits until n bytes more may wait for c, and reserves them. It reports whether they may: the
// connection can end meanwhile.
//
// A target is given time as long as it makes use of it. It loses its connection when it takes nothing for
// the stall timeout, or takes a little while the tunnel, with other connections, was held up for the hold
// timeout at one go. A chunk within that time is enough.
func (m *mux) awaitRoom(c *connection, n int) bool {
	var since time.Time
	defer func() { m.resumeReads(since) }()
	for {
		if c.closed || c.dead || m.ended {
			return false
		}
		full, slowest := m.backlog.reserve(&c.inbox, n)
		if full == noLimit {
			return true
		}
		since = m.pauseReads(since)
		m.writeDeferred()
		switch {
		case full == processLimit:
			m.awaitMemory(since)
		case slowest == nil:
			m.backlog.wait()
		default:
			m.awaitTarget(slowest.conn, since)
		}
	}
}

// plainLimit bounds the plain bytes that a target has not taken.
const plainLimit = 4 * resume.InitialCredit

// awaitTaken keeps the reader from reading on until c's target has taken all but plainLimit of the plain bytes, whose
// sender does not know yet that its credit is limited. The bytes count as received, so they are with c already: the
// websocket may be lost meanwhile.
func (m *mux) awaitTaken(c *connection) {
	var since time.Time
	defer func() { m.resumeReads(since) }()
	for c.res.Plain() && c.inbox.charged > 0 && c.res.Untaken() > plainLimit {
		if c.closed || c.dead || m.ended || c.m != m {
			return
		}
		since = m.pauseReads(since)
		m.writeDeferred()
		if c.inbox.charged > 0 {
			m.awaitTarget(c, since)
		}
	}
}

// pauseReads notes when the reader began to wait: answers to probes stay unread from then on.
func (m *mux) pauseReads(since time.Time) time.Time {
	if !since.IsZero() {
		return since
	}
	m.pace.pause()
	return time.Now()
}

// resumeReads notes that the reader goes on, if it had to wait.
func (m *mux) resumeReads(since time.Time) {
	if !since.IsZero() {
		m.pace.resume()
	}
}

// awaitTarget waits until something was written, or resets c once it has stalled for too long.
func (m *mux) awaitTarget(c *connection, since time.Time) {
	left := m.cfg.StallTimeout - time.Since(c.inbox.progress)
	if left <= 0 {
		m.stalled(c, true)
		return
	}
	if len(m.conns) > 1 {
		hold := holdFactor*m.cfg.StallTimeout - time.Since(since)
		if hold <= 0 {
			m.stalled(c, false)
			return
		}
		left = min(left, hold)
	}
	m.backlog.waitFor(left)
}

// awaitMemory waits until the process may have memory, with the lock given up meanwhile.
func (m *mux) awaitMemory(since time.Time) {
	m.unlock()
	left := m.backlog.budget.relieve(since, m.cfg.StallTimeout)
	m.relock()
	if left > 0 && !m.backlog.nudged && !m.ended {
		m.backlog.waitFor(left)
	}
	m.backlog.nudged = false
}

// stalled resets a connection whose target takes nothing, or, if not even that, too little.
func (m *mux) stalled(c *connection, nothing bool) {
	msg, problem, after := "connection reset: its target takes no data", "target took no data for ", m.cfg.StallTimeout
	if !nothing {
		msg, problem, after = "connection reset: its target takes data too slowly while others wait",
			"target took data too slowly for ", holdFactor*m.cfg.StallTimeout
	}
	m.warn("stalled "+c.s.name, msg, "service", c.s.name, "stream", c.s.id, "connection", c.id, "stalled_for", after.String())
	m.stats.failed(c.s.name, problem+after.String())
	c.setReason(Stalled)
	c.end(aborted, true)
}
