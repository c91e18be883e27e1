package session

import "maps"

// Totals are what all sessions have come to since the start, those that Status no longer shows included. They only grow.
type Totals struct {
	Attempts uint64 // handshakes tried
	Connects uint64 // handshakes that succeeded
	Services map[string]ServiceTotals
}

// ServiceTotals are a service's share.
type ServiceTotals struct {
	Connections       uint64 // asked for, those that never reached the target included
	BytesIn, BytesOut uint64 // to local targets, and from them
}

// add counts what one session has come to. Names come from the far side: only those that a service has or has had are
// kept. A service that is disabled or removed, and comes back, then goes on with its counts.
func (t *Totals) add(s Status, known func(name string) bool) {
	t.Attempts += uint64(s.Attempts) //nolint:gosec // never negative
	t.Connects += uint64(s.Connects) //nolint:gosec // never negative
	for _, service := range s.Services {
		if !known(service.Service) {
			continue
		}
		sum := t.Services[service.Service]
		sum.Connections += service.Total
		sum.BytesIn += service.BytesIn
		sum.BytesOut += service.BytesOut
		if t.Services == nil {
			t.Services = make(map[string]ServiceTotals)
		}
		t.Services[service.Service] = sum
	}
}

// Totals returns the totals of now.
func (m *Manager) Totals() Totals {
	m.mu.Lock()
	sum := m.gone
	sum.Services = maps.Clone(m.gone.Services)
	for _, s := range m.recent {
		sum.add(s, m.cfg.Services.Known)
	}
	live := make([]*session, 0, len(m.live))
	for _, s := range m.live {
		live = append(live, s)
	}
	m.mu.Unlock()
	for _, s := range live {
		sum.add(s.snapshot(), m.cfg.Services.Known)
	}
	return sum
}
