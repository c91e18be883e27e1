package resume

import "sync"

// DefaultMemory is what the connections of a process may keep, in bytes.
const DefaultMemory = 8 << 20

// Memory bounds what the connections of a process keep: for replay, and for applications that take nothing. It
// shares by what is free (Choudhury and Hahne, "Dynamic queue length thresholds", IEEE/ACM ToN 6(2), 1998), so
// that many connections get a little each and some is always left. It is safe for concurrent use.
type Memory struct {
	limit int

	mu       sync.Mutex
	used     int
	promised int // credit beyond the initial one
}

// NewMemory returns a limit of so many bytes.
func NewMemory(limit int) *Memory { return &Memory{limit: limit} }

// Used returns how many bytes are kept.
func (m *Memory) Used() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// share is how much one connection may keep for replay now: as much as is free, so that one that is alone may keep what
// the far end's window lets it send.
func (m *Memory) share() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return min(max(m.limit-m.used, smallChunk), maxWindow)
}

// Take counts n bytes that a connection keeps. Without force it fails where they exceed the limit.
func (m *Memory) Take(n int, force bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !force && m.used+n > m.limit {
		return false
	}
	m.used += n
	return true
}

// Give is called when n bytes are kept no more.
func (m *Memory) Give(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
}

// exhausted times the limit may be kept in all: if many connections use their granted credit at once, that is more than
// the limit.
const exhausted = 3

// Exhausted reports whether the process keeps so much that a connection has to give way.
func (m *Memory) Exhausted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used > m.Most()
}

// Most is how many bytes may be kept in all.
func (m *Memory) Most() int { return exhausted * m.limit }

// promise sets n bytes of credit aside: at most half of what is left of three quarters of the limit, so that a connection
// that is alone gets most, and the next ones something.
func (m *Memory) promise(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	most := m.limit / 4 * 3
	if 2*n > most-m.promised || m.used+n > most {
		return false
	}
	m.promised += n
	return true
}

func (m *Memory) unpromise(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.promised -= n
}
