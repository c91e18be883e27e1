package services

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// DefaultConnectTimeout is how long a target may take to accept a connection. Targets are near: one that
// needs longer is down, and the operator waits.
const DefaultConnectTimeout = 5 * time.Second

// maxKnown bounds the names that are remembered of services which are not configured any more.
const maxKnown = 1000

// Table holds the services by name and counts their connections. It is safe for concurrent use.
type Table struct {
	net network

	mu             sync.Mutex
	byName         map[string]Service
	known          map[string]bool // names of byName, now or before
	active         map[string]int  // by name, so that counts outlive Replace
	refused        map[string]map[Kind]uint64
	connectTimeout time.Duration
}

// NewTable makes a table of list. Where a name comes twice, the last one counts.
func NewTable(list []Service) *Table {
	t := &Table{net: systemNetwork(), known: make(map[string]bool), active: make(map[string]int), refused: make(map[string]map[Kind]uint64), connectTimeout: DefaultConnectTimeout}
	t.Replace(list)
	return t
}

// Replace puts list in the place of all services. Connections that are open stay open under the limits
// they were made with, and still count against their name.
func (t *Table) Replace(list []Service) {
	byName := make(map[string]Service, len(list))
	for _, s := range list {
		byName[s.Name] = s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName = byName
	for name := range byName {
		t.known[name] = true
	}
	if len(t.known) > maxKnown {
		maps.DeleteFunc(t.known, func(name string, _ bool) bool {
			_, stays := byName[name]
			return !stays
		})
	}
}

// SetConnectTimeout bounds each later Dial, name resolution included; 0 or less means
// DefaultConnectTimeout.
func (t *Table) SetConnectTimeout(d time.Duration) {
	if d <= 0 {
		d = DefaultConnectTimeout
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connectTimeout = d
}

// Names lists the services that are not disabled, sorted.
func (t *Table) Names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]string, 0, len(t.byName))
	for name, s := range t.byName {
		if !s.Disabled {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Lookup returns the service of that name, disabled or not.
func (t *Table) Lookup(name string) (Service, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byName[name]
	return s, ok
}

// Known reports whether a service has that name, disabled or not, or has had it since the table was made. Of services
// that are gone, the table remembers 1000 names at most.
func (t *Table) Known(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known[name]
}

// Active counts the connections of a service that are open or being opened.
func (t *Table) Active(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active[name]
}

// Refused counts the connections that a service did not get, by the reason, since the table was made. ""
// stands for all names that no service had at that time.
func (t *Table) Refused(name string) map[Kind]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.refused[name])
}

// refuse counts. The names come from the far side: only those of services are kept.
func (t *Table) refuse(name string, kind Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.byName[name]; !ok {
		name = ""
	}
	if t.refused[name] == nil {
		t.refused[name] = make(map[Kind]uint64)
	}
	t.refused[name][kind]++
}

// reserve takes a place for one connection: looking and counting are one step, so that no two dials share
// the last place.
func (t *Table) reserve(name string) (Service, time.Duration, *DialError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byName[name]
	switch {
	case !ok:
		return s, 0, &DialError{Service: name, Kind: Unknown}
	case s.Disabled:
		return s, 0, &DialError{Service: name, Target: s.Target(), Kind: Disabled}
	case s.MaxConnections > 0 && t.active[name] >= s.MaxConnections:
		return s, 0, &DialError{Service: name, Target: s.Target(), Kind: Full, limit: s.MaxConnections}
	}
	t.active[name]++
	return s, t.connectTimeout, nil
}

// adopt is reserve without a limit, for a connection that stands already.
func (t *Table) adopt(name string) (Service, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byName[name]
	switch {
	case !ok:
		return s, &DialError{Service: name, Kind: Unknown}
	case s.Disabled:
		return s, &DialError{Service: name, Target: s.Target(), Kind: Disabled}
	}
	t.active[name]++
	return s, nil
}

// release gives the place back.
func (t *Table) release(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active[name]--; t.active[name] <= 0 {
		delete(t.active, name)
	}
}
