package stream

import "time"

// deliver puts a payload into c's inbox. Where that is full it waits, for the protocol has no other way
// to slow the peer down, but not for a target that takes nothing: that one loses its connection.
func (m *mux) deliver(c *connection, payload []byte) {
	if len(payload) == 0 {
		return
	}
	for {
		if c.closed || c.dead || m.ended {
			return
		}
		grow := c.inbox.growth(len(payload))
		switch {
		case grow > 0 && c.inbox.charged+grow > inboxLimit:
			m.awaitRoom(c)
			continue
		case m.queued+grow > tunnelLimit:
			m.awaitRoom(m.slowest(m.queued + grow - tunnelLimit))
			continue
		}
		break
	}
	if c.inbox.charged == 0 && c.target != nil {
		c.progress = time.Now() // it had nothing to take
	}
	before := c.inbox.charged
	c.inbox.put(payload)
	m.queued += c.inbox.charged - before
	c.wake.Signal()
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

// awaitRoom waits until something was written, or resets the culprit once it has stalled for too long.
func (m *mux) awaitRoom(culprit *connection) {
	if culprit == nil {
		m.room.Wait()
		return
	}
	left := m.stall - time.Since(culprit.progress)
	if left <= 0 {
		m.warn("stalled "+culprit.s.name, "connection reset: its target takes no data",
			"service", culprit.s.name, "stream", culprit.s.id, "connection", culprit.id, "stalled_for", m.stall.String())
		m.stats.failed(culprit.s.name, "target took no data for "+m.stall.String())
		culprit.because(Stalled)
		culprit.end(aborted, true)
		return
	}
	if m.timer == nil {
		m.timer = time.AfterFunc(left, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.room.Broadcast()
		})
	} else {
		m.timer.Reset(left)
	}
	m.room.Wait()
	m.timer.Stop()
}

// release gives a written chunk's memory back.
func (m *mux) release(c *connection, b *chunk) {
	before := c.inbox.charged
	c.inbox.release(b)
	m.queued -= before - c.inbox.charged
	m.room.Broadcast()
}

// unqueue drops what waits for c.
func (m *mux) unqueue(c *connection) {
	before := c.inbox.charged
	c.inbox.clear()
	m.queued -= before - c.inbox.charged
	m.room.Broadcast()
}
