package stream

import (
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

const (
	// If a reset comes and the websocket stays, a source resumes the connection after resumeDelay, as the device may be
	// back at once. After resumeTries tries in a row it waits for soonDelay, and after soonTries longer each time, up
	// to maxResumeDelay.
	resumeDelay, soonDelay, maxResumeDelay = 50 * time.Millisecond, 200 * time.Millisecond, 10 * time.Second

	resumeTries, soonTries = 20, 45
	// The least delay is resumeSpacing for each waiting connection, so that many do not fill the websocket. When the
	// destination answers the first one, the others follow.
	resumeSpacing = time.Millisecond
	// steadyAfter is how long a connection must have been attached for its tries to count from 0 again.
	steadyAfter = time.Second
	// probeEvery is how often a source asks a quiet stream whether it is still there: the destination may have
	// another websocket, and its service need not say so.
	probeEvery = 15 * time.Second
	// greetWait is how long a destination keeps a connection whose HELLO may never have arrived.
	greetWait = 20 * time.Second
	// logDelay gathers connections that return into one line of the log.
	logDelay = time.Second
)

// joinTunnel counts c as one of m's connections.
func (c *connection) joinTunnel(m *mux) {
	c.joined = true
	m.conns[c] = struct{}{}
	m.wg.Add(1)
}

// leaveTunnel is joinTunnel undone.
func (c *connection) leaveTunnel() {
	if !c.joined {
		return
	}
	c.m.uncount(c)
	if c.placed {
		c.m.backlog.budget.count(&c.m.backlog, 0, -1)
	}
	c.m.resume.Ending.Add(1)
	c.m.wg.Done()
}

func (m *mux) uncount(c *connection) {
	c.joined = false
	delete(m.conns, c)
	m.stats.finished(c.s.name)
}

// lose takes c off its websocket. It waits for the next one, if it can. If not, it stays in its tunnel's care until it has
// ended: the tunnel's end bounds how long that takes.
func (c *connection) lose() {
	m := c.m
	if !m.resume.Keeps() || !c.res.Speaks() || m.source && !c.s.keeps && !c.res.Unanswered() {
		c.broken = true
		c.setReason(TunnelLost)
		c.end(draining, false)
		return
	}
	if !c.attached.IsZero() && time.Since(c.attached) >= steadyAfter {
		c.tries = 0
	}
	c.attached = time.Time{}
	c.epoch++
	c.res.Detach()
	c.unlink()
	m.remove(c)
	c.leaveTunnel()
	c.detached, c.deferred = true, false
	c.detach()
	c.settle()
	if m.source && !m.ended {
		m.resumeLater(c)
	}
}

// detach lets c wait for the next websocket, and reports whether it may.
func (c *connection) detach() bool {
	wait := greetWait
	if c.m.source || c.res.Known() {
		wait = resume.MaxWindow
	}
	if c.lost.IsZero() {
		c.lost = time.Now()
	}
	return c.m.resume.DetachFor(c.res.ID(), c.m.owner, wait)
}

// move gives c a place on a websocket, as connection id of s.
func (m *mux) move(c *connection, s *stream, id uint32) {
	c.unlink()
	c.m, c.s, c.id = m, s, id
	switch {
	case m.source:
	case c.placed:
		m.backlog.budget.count(&m.backlog, 0, 1)
	default: // it comes from another process
		c.placed = true
		m.backlog.budget.count(&m.backlog, 1, 1)
	}
	c.member = member{conn: c, born: m.sched.message, overhead: overhead(c)}
	s.conns[id] = c
	c.joinTunnel(m)
	m.resume.Ending.Done()
	m.stats.joined(s.name)
	c.detached, c.asked = false, time.Time{}
	c.epoch++
	if m.cfg.OnStream != nil {
		m.cfg.OnStream()
	}
}

// returned notes that the peer has attached c again.
func (c *connection) returned() {
	m := c.m
	if waited := m.resume.Attach(c.res.ID()); waited > 0 {
		c.resumed++
		m.logResumed()
	}
	c.endWait()
	c.attached = time.Now()
}

// endWait counts how long c was without a websocket.
func (c *connection) endWait() {
	if !c.lost.IsZero() {
		c.away += time.Since(c.lost)
		c.lost = time.Time{}
	}
}

// logDetached writes one line for all connections that a websocket has lost.
func (m *mux) logDetached(n int) {
	if n > 0 {
		m.cfg.Logger.Info("connections wait to be resumed", "connections", n)
	}
}

// logResumed writes one line for all connections that return within logDelay.
func (m *mux) logResumed() {
	if m.back++; m.back > 1 {
		return
	}
	time.AfterFunc(logDelay, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.cfg.Logger.Info("connections resumed", "connections", m.back)
		m.back = 0
	})
}

// attacher is a Source. It is an interface so that a program which is only a destination does without the code.
type attacher interface {
	resumeRest()
	resumeOne(c *connection)
	sayFarewells()
}

// resumeAll attaches all connections that wait to the source's websocket.
func (s *Source) resumeAll() {
	if s.resume == nil || !s.form.Connection {
		return
	}
	s.attaches = s
	for _, w := range s.resume.Waiting() {
		if c, ok := w.(*connection); ok && c.detached {
			s.kept++
			s.resumeOne(c)
		}
	}
	s.sayFarewells()
}

// resumeRest attaches the other connections that this websocket lost: the destination is back.
func (s *Source) resumeRest() {
	for _, w := range s.resume.Waiting() {
		if c, ok := w.(*connection); ok && c.detached && c.m == s.mux {
			s.resumeOne(c)
		}
	}
}

// startRecords starts a connection of a service whose destination speaks records for certain. It returns no stream as
// long as that is uncertain for the present stream.
func (s *Source) startRecords(service, name string) *stream {
	st := s.streams[service]
	switch {
	case st == nil:
		form := Form{Service: service != "", Connection: true}
		st = &stream{id: offeringID(true), service: service, form: form, name: name, conns: make(map[uint32]*connection), next: 1, records: true, keeps: true}
		s.streams[service] = st
		s.tell(st.message(frame.StreamStart, 1))
	case !st.records:
		return nil
	default:
		st.advance()
		s.tell(st.message(frame.ConnectionStart, st.next))
	}
	return st
}

// resumeOne attaches a connection that waits: a start, and RESUME in the same message.
func (s *Source) resumeOne(c *connection) {
	st := s.startRecords(c.s.service, c.s.name)
	if st == nil {
		s.resumeLater(c) // the process there is not known yet
		return
	}
	s.move(c, st, st.next)
	c.res.Resume()
	c.tellNext()
	c.watchConfirmation()
}

// openElsewhere opens c once more: an unexpected process answered, and has opened nothing.
func (c *connection) openElsewhere() {
	s := c.s
	c.unlink()
	delete(s.conns, c.id)
	s.advance()
	c.id = s.next
	s.conns[c.id] = c
	c.member = member{conn: c, born: c.m.sched.message, overhead: overhead(c)}
	c.epoch++
	c.asked = time.Time{}
	c.res.Resume()
	c.m.tell(s.message(frame.ConnectionStart, c.id))
	c.tellNext()
	c.watchConfirmation()
}

// heardFrom records the destination's present process.
func (m *mux) heardFrom(at resume.Address) {
	if !m.source {
		return
	}
	m.resume.Heard(at)
	if !m.farEnd.present {
		m.farEnd.present = true
		if m.attaches != nil && m.takesFrames() {
			m.attaches.resumeRest()
		}
	}
}

// tellNext sends the first record of a connection right behind its start.
func (c *connection) tellNext() {
	var b [resume.MaxOverhead]byte
	if rec, ok := c.res.Next(b[:0]); ok {
		msg := c.s.message(frame.Data, c.id)
		msg.Payload = rec
		c.m.tell(msg)
	}
}

// resumeAfter is the wait before the next try after a number of tries.
func resumeAfter(tries int) time.Duration {
	switch {
	case tries < resumeTries:
		return resumeDelay
	case tries < soonTries:
		return soonDelay
	default:
		return min(soonDelay<<min(tries-soonTries+1, 6), maxResumeDelay)
	}
}

// resumeLater attaches c to m in a while, unless it is attached by then.
func (m *mux) resumeLater(c *connection) {
	d := max(resumeAfter(c.tries), time.Duration(m.resume.Detached())*resumeSpacing)
	c.tries++
	epoch := c.epoch
	time.AfterFunc(d, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if c.detached && !c.closed && c.epoch == epoch && m.takesFrames() && m.attaches != nil {
			m.attaches.resumeOne(c)
		}
	})
}

// watchConfirmation takes the stream for lost when the destination confirms nothing for too long.
func (c *connection) watchConfirmation() {
	switch {
	case !c.m.source || c.closed || c.detached || !c.awaitsAnswer():
		return
	case c.asked.IsZero():
		c.asked, c.confirmed = time.Now(), c.res.Confirmed()
	}
	switch {
	case c.confirmSet:
		return
	case c.confirmTimer == nil:
		c.confirmTimer = time.AfterFunc(confirmTimeout, c.unconfirmed)
	default:
		c.confirmTimer.Reset(confirmTimeout)
	}
	c.confirmSet = true
}

// answeredAll is called with each message of the destination. When it owes no more answers, the time that it has for the
// next one begins anew. The timer stays: it looks at the time when it is over.
func (c *connection) answeredAll() {
	if !c.asked.IsZero() && !c.awaitsAnswer() {
		c.asked = time.Time{}
	}
}

func (c *connection) awaitsAnswer() bool { return c.res.Waiting() || c.res.Unconfirmed() }

func (c *connection) unconfirmed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirmSet = false
	left := confirmTimeout - time.Since(c.asked)
	switch {
	case c.closed || c.detached || !c.awaitsAnswer():
		c.asked = time.Time{}
	case c.asked.IsZero() || c.confirmed != c.res.Confirmed():
		c.asked = time.Time{}
		c.watchConfirmation()
	case left > 0:
		c.confirmSet = true
		c.confirmTimer.Reset(left)
	default:
		m, s := c.m, c.s
		m.warn("unconfirmed "+s.name, "the device does not answer: its connections are resumed", "service", s.name, "stream", s.id)
		m.endStream(s)
	}
}

// probeStreams asks each quiet stream whether it is still there.
func (s *Source) probeStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.closing {
		return
	}
	for _, st := range s.streams {
		for _, c := range st.conns {
			if c.carried && c.res.Attached() {
				c.res.Probe()
				c.wake()
				break
			}
		}
	}
	s.probing.Reset(probeEvery)
}
