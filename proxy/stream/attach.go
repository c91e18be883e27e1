package stream

import (
	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// firstRecord acts on the first message of a connection in a stream of records: it says whether the connection is a
// new one or resumes another.
func (m *mux) firstRecord(c *connection, payload []byte) {
	c.vacant = false
	c.stopTimer()
	var r resume.Record
	err := r.Parse(payload)
	switch {
	case err == nil && r.Type == resume.Resume:
		w, _ := m.resume.Find(r.ID)
		m.resumed(c, &r, w)
	case err == nil && r.Type == resume.Open:
		m.opened(c, &r)
	case !m.place(c):
		c.end(aborted, true)
	case len(payload) == 0: // the source has not seen HELLO yet
		c.greet()
		m.startDial(c)
	default: // another source, whose stream id only looks like ours
		m.startDial(c)
		m.deliver(c, payload)
	}
}

// unclaimed ends a connection whose first record did not come. It has no target and no other owner, and its stream may
// not end for a long time.
func (c *connection) unclaimed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.vacant || c.closed {
		return
	}
	c.m.warn("unclaimed "+c.s.name, "connection reset: its first record did not come",
		"service", c.s.name, "stream", c.s.id, "connection", c.id)
	c.end(aborted, true)
}

// opened acts on an OPEN, which the source may have sent before on another websocket.
func (m *mux) opened(c *connection, r *resume.Record) {
	w, admission := m.resume.Admit(r)
	switch {
	case admission == resume.Admitted && !m.place(c):
		m.refuse(c, resume.Record{Type: resume.Gone, Reason: resume.LimitHit})
	case admission == resume.Admitted:
		c.res = resume.New(m.resume.Memory)
		_ = c.res.Accept(r, m.resume.Address()) // a new one is always accepted
		c.carried = true
		m.resume.Add(r.ID, c)
		m.startDial(c)
		c.wake()
	case admission == resume.Present:
		m.resumed(c, r, w)
	case admission == resume.Over:
		m.refuse(c, resume.Record{Type: resume.Gone, Reason: m.resume.Fate(r.ID)})
	case admission == resume.Unproved:
		m.refuse(c, resume.Record{Type: resume.Unopened, At: m.resume.Address()})
	}
}

// refuse answers a source that cannot have a connection, and forgets c, which was only its placeholder.
func (m *mux) refuse(c *connection, r resume.Record) {
	m.tellRecord(c.s, c.id, r)
	c.end(aborted, true)
}

// tellRecord sends a record ahead of all data.
func (m *mux) tellRecord(s *stream, id uint32, r resume.Record) {
	var b [resume.MaxOverhead]byte
	msg := s.message(frame.Data, id)
	msg.Payload = r.Append(b[:0])
	m.tell(msg)
}

// resumed puts w, the connection that an OPEN or a RESUME names, in the place of c.
func (m *mux) resumed(c *connection, r *resume.Record, w resume.Conn) {
	s, id := c.s, c.id
	was, ok := w.(*connection)
	if ok && was.finished {
		m.refuse(c, resume.Record{Type: resume.Gone, Reason: resume.Done})
		return
	}
	if !ok || was.s.name != s.name || was.closed {
		m.cfg.Logger.Debug("connection cannot be resumed: it is not known here", "service", s.name)
		m.refuse(c, resume.Record{Type: resume.Gone, Reason: m.resume.Fate(r.ID)})
		return
	}
	if was.res.Overtaken(r) {
		// The source has given this websocket up, and it was slow to say so.
		m.cfg.Logger.Debug("late attachment ignored", "service", s.name)
		c.end(aborted, true)
		return
	}
	c.end(aborted, false)
	if !was.detached { // the later attachment wins
		was.epoch++
		was.unlink()
		was.m.remove(was)
		was.leaveTunnel()
		was.deferred = false
		m.resume.Detach(r.ID, was.m.owner)
		was.detached = true
	}
	m.move(was, s, id)
	if err := was.res.Accept(r, m.resume.Address()); err != nil {
		was.violated(err)
		return
	}
	was.returned()
	was.settle()
	was.considerEnd()
	was.wake()
}
