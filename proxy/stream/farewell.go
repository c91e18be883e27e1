package stream

import (
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// rememberEnd records that a source sends the end of c. A destination that does not receive it would keep the
// connection, its target and its service's place until the resume time-out.
func (c *connection) rememberEnd(why resume.Reason, lost bool) {
	if !c.m.source || !c.s.keeps {
		return
	}
	if r, ok := c.res.Farewell(); ok {
		c.m.resume.Bid(resume.Farewell{Service: c.s.service, Name: c.s.name, Resume: r, Reason: why}, lost)
	}
}

// doubtFarewells is called when a stream is lost. If the websocket is still up, the source soon repeats the ends that
// the stream may have lost.
func (m *mux) doubtFarewells(s *stream) {
	if m.resume == nil || !m.source {
		return
	}
	tries, due := m.resume.Doubt(s.service)
	if !due || !m.takesFrames() {
		return
	}
	time.AfterFunc(resumeAfter(tries), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.takesFrames() && m.attaches != nil {
			m.attaches.sayFarewells()
		}
	})
}

// sayFarewells resumes each connection whose end may have been lost, and ends it at once. The destination's answers are
// for connections that no longer exist here, and are ignored.
func (s *Source) sayFarewells() {
	s.resume.SayFarewells(func(f *resume.Farewell) bool {
		st := s.startRecords(f.Service, f.Name)
		if st == nil {
			return false // until the process there is known
		}
		s.tellRecord(st, st.next, f.Resume)
		s.tellRecord(st, st.next, resume.Record{Type: resume.Close, Reason: f.Reason})
		s.tell(st.reset(st.next))
		return true
	})
}
