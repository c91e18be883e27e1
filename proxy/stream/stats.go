package stream

import (
	"sort"
	"time"
)

// ServiceStats counts one service's connections over a websocket's life.
type ServiceStats struct {
	Service     string `json:"service"`
	Connections int    `json:"connections"` // now, those that dial or drain included
	Total       uint64 `json:"total"`       // so far, refused ones included; it only grows
	BytesIn     uint64 `json:"bytes_in"`    // from the tunnel to the target
	BytesOut    uint64 `json:"bytes_out"`   // from the target to the tunnel
	Refused     uint64 `json:"refused"`     // connections that never reached the target
	LastError   string `json:"last_error,omitempty"`
	// LastErrorAt is when that was. The error stays after connections that went well.
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

type statistics struct{ services map[string]*ServiceStats }

// get bounds the number of names that are counted, since they come from the peer.
func (s *statistics) get(name string) *ServiceStats {
	if c, ok := s.services[name]; ok {
		return c
	}
	if s.services == nil {
		s.services = make(map[string]*ServiceStats)
	}
	if len(s.services) >= maxStreams {
		name = "(others)"
		if c, ok := s.services[name]; ok {
			return c
		}
	}
	c := &ServiceStats{Service: name}
	s.services[name] = c
	return c
}

// requested counts a connection, once it is known to be no placeholder of one that is resumed.
func (s *statistics) requested(name string) { s.get(name).Total++ }

func (s *statistics) joined(name string)     { s.get(name).Connections++ }
func (s *statistics) finished(name string)   { s.get(name).Connections-- }
func (s *statistics) in(name string, n int)  { s.get(name).BytesIn += uint64(n) }  //nolint:gosec // never negative
func (s *statistics) out(name string, n int) { s.get(name).BytesOut += uint64(n) } //nolint:gosec // never negative

func (s *statistics) refused(name string) { s.get(name).Refused++ }

func (s *statistics) failed(name, problem string) {
	c := s.get(name)
	c.LastError, c.LastErrorAt = problem, time.Now()
}

// Stats returns a snapshot, sorted by service.
func (m *mux) Stats() []ServiceStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]ServiceStats, 0, len(m.stats.services))
	for _, c := range m.stats.services {
		list = append(list, *c)
	}
	sort.Sort(byService(list))
	return list
}

// byService sorts by the name. The generic functions of package slices would cost a device 12 KB for it.
type byService []ServiceStats

func (s byService) Len() int           { return len(s) }
func (s byService) Less(i, j int) bool { return s[i].Service < s[j].Service }
func (s byService) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
