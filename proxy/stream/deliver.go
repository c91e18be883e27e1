package stream

import "time"

// input is the tunnel's bytes. Before a read that may have to wait, all that came so far is on its way to the
// targets.
type input struct{ m *mux }

func (i input) Read(p []byte) (int, error) {
	if len(i.m.late) > 0 {
		i.m.mu.Lock()
		i.m.writeLate()
		i.m.mu.Unlock()
	}
	return i.m.transport.Read(p)
}

// directly is the least that is written to a target straight from the frame it came in. What is less is gathered
// in the inbox first: many small frames that came at once are one write.
const directly = 4 << 10

// deliver hands a payload to c's target, or to its inbox as far as the target does not take it now. Where that is
// full it waits, for the protocol has no other way to slow the peer down, but not for a target that takes nothing:
// that one loses its connection.
func (m *mux) deliver(c *connection, payload []byte) {
	if len(payload) == 0 {
		return
	}
	if c.inbox.empty() && (len(payload) >= directly || m.tight()) {
		payload = payload[c.writeNow(payload):]
		if len(payload) == 0 || c.dead || c.state == aborted {
			return
		}
		if c.closed { // meanwhile, but this came before
			m.memory.force(c.inbox.growth(len(payload)))
			m.keep(c, payload)
			c.kick()
			return
		}
	}
	if !m.awaitRoom(c, len(payload)) {
		return
	}
	m.keep(c, payload)
	if c.raw == nil || len(payload) >= directly {
		c.kick()
	} else if !c.late {
		c.late = true
		m.late = append(m.late, c)
	}
}

// tight tells whether there is no memory left to gather in: a target that takes all at once then still gets it.
func (m *mux) tight() bool { return m.queued+smallChunk > tunnelLimit || m.memory.tight() }

// keep puts a payload into c's inbox. The memory is reserved already.
func (m *mux) keep(c *connection, payload []byte) {
	if c.inbox.charged == 0 && c.target != nil {
		c.progress = time.Now() // it had nothing to take
	}
	before := c.inbox.charged
	c.inbox.put(payload)
	m.queued += c.inbox.charged - before
}

// writeLate writes what was gathered, as far as targets take it at once; the rest is their writers'.
func (m *mux) writeLate() {
	for i, c := range m.late {
		m.late[i], c.late = nil, false
		for c.raw != nil && c.state == open && !c.writing && !c.dead && !c.inbox.empty() {
			b := c.inbox.take()
			b.done += c.writeNow(b.b[b.done:])
			if b.done == len(b.b) || c.dead || c.state == aborted {
				m.release(c, b)
				continue
			}
			c.inbox.untake(b)
			break
		}
		c.kick()
	}
	m.late = m.late[:0]
}

// slowest is the connection with bytes waiting whose target took nothing for the longest time. It is nil
// when n bytes are about to be released anyway, by connections that were aborted.
func (m *mux) slowest(n int) *connection {
	var slow *connection
	for c := range m.conns {
		switch {
		case c.state == aborted:
			n -= c.inbox.charged
		case c.inbox.charged > 0 && (slow == nil || c.progress.Before(slow.progress)):
			slow = c
		}
	}
	if n <= 0 {
		return nil
	}
	return slow
}

// awaitRoom waits until n bytes more may wait for c, and reserves them. It tells whether they may: a connection can
// end meanwhile.
//
// Whoever has what is needed is given time as long as it makes use of it: a target that takes nothing for the stall
// timeout loses its connection, and so does one that takes a little, if the tunnel was held up by it for the hold
// timeout at one go and carries other connections too. A chunk within that time is enough.
func (m *mux) awaitRoom(c *connection, n int) bool {
	var since time.Time
	for {
		if c.closed || c.dead || m.ended {
			m.readOn(since)
			return false
		}
		grow := c.inbox.growth(n)
		var culprit *connection
		switch {
		case grow > 0 && c.inbox.charged+grow > inboxLimit:
			culprit = c
		case m.queued+grow > tunnelLimit:
			culprit = m.slowest(m.queued + grow - tunnelLimit)
		case grow == 0 || m.memory.take(m, grow):
			m.readOn(since)
			return true
		default:
			since = m.hold(since)
			m.writeLate()
			m.awaitMemory(since)
			continue
		}
		since = m.hold(since)
		m.writeLate()
		m.awaitCulprit(culprit, since)
	}
}

// hold notes when the reader began to wait: answers to the window's probes stay unread from then on.
func (m *mux) hold(since time.Time) time.Time {
	if !since.IsZero() {
		return since
	}
	if m.prober != nil {
		now := m.now()
		m.window.hold(now)
		if m.lateSet {
			m.lateTimer.Reset(max(m.window.late(now), 0))
		}
	}
	return time.Now()
}

// readOn notes that the reader goes on, if it had to wait.
func (m *mux) readOn(since time.Time) {
	if !since.IsZero() && m.prober != nil {
		m.window.release(m.now())
	}
}

// awaitCulprit waits until something was written, or resets the culprit once it has stalled for too long.
func (m *mux) awaitCulprit(culprit *connection, since time.Time) {
	if culprit == nil {
		m.room.Wait()
		return
	}
	left := m.stall - time.Since(culprit.progress)
	if left <= 0 {
		m.stalled(culprit, true)
		return
	}
	if len(m.conns) > 1 {
		hold := holdFactor*m.stall - time.Since(since)
		if hold <= 0 {
			m.stalled(culprit, false)
			return
		}
		left = min(left, hold)
	}
	m.waitRoom(left)
}

// waitRoom waits until something was written, or the time is over.
func (m *mux) waitRoom(limit time.Duration) {
	if m.timer == nil {
		m.timer = time.AfterFunc(limit, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.room.Broadcast()
		})
	} else {
		m.timer.Reset(limit)
	}
	m.room.Wait()
	m.timer.Stop()
}

// stalled resets a connection whose target takes nothing, or, if not even that, too little.
func (m *mux) stalled(c *connection, nothing bool) {
	msg, problem, after := "connection reset: its target takes no data", "target took no data for ", m.stall
	if !nothing {
		msg, problem, after = "connection reset: its target takes data too slowly while others wait",
			"target took data too slowly for ", holdFactor*m.stall
	}
	m.warn("stalled "+c.s.name, msg, "service", c.s.name, "stream", c.s.id, "connection", c.id, "stalled_for", after.String())
	m.stats.failed(c.s.name, problem+after.String())
	c.because(Stalled)
	c.end(aborted, true)
}

// release gives a written chunk's memory back.
func (m *mux) release(c *connection, b *chunk) {
	before := c.inbox.charged
	c.inbox.release(b)
	m.freed(before - c.inbox.charged)
}

// unqueue drops what waits for c.
func (m *mux) unqueue(c *connection) {
	before := c.inbox.charged
	c.inbox.clear()
	m.freed(before - c.inbox.charged)
}

func (m *mux) freed(n int) {
	m.queued -= n
	m.memory.give(n)
	m.room.Broadcast()
}
