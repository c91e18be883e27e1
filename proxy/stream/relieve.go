package stream

import "github.com/culvert-iot/culvert/proxy/resume"

// relieve ends the connection whose target has taken nothing for the longest time, of the tunnel that holds most of the
// memory for those. c is about to hold more. While its peer still sends plain bytes, c is the one that ends.
func (m *mux) relieve(c *connection) {
	held := make(map[any]int)
	var most any
	m.resume.All(func(w resume.Conn) {
		if o, ok := w.(*connection); ok {
			if held[o.m.owner] += o.inbox.charged; most == nil || held[o.m.owner] > held[most] {
				most = o.m.owner
			}
		}
	})
	var slow *connection
	if !c.res.Plain() {
		m.resume.All(func(w resume.Conn) {
			o, ok := w.(*connection)
			if ok && o.m.owner == most && o.inbox.charged > 0 && (slow == nil || o.inbox.progress.Before(slow.inbox.progress)) {
				slow = o
			}
		})
	}
	if slow == nil {
		slow = c
	}
	slow.m.warn("exhausted", "connection reset: its target takes no data, and the memory for those is used up",
		"service", slow.s.name, "limit", m.resume.Memory.Most())
	slow.m.stats.failed(slow.s.name, "too much waits in the process for targets that take nothing")
	slow.why = resume.OutOfMemory
	slow.setReason(Stalled)
	slow.end(aborted, true)
}
