package stream

import (
	"sync"
	"time"
)

// DefaultMemory is what the tunnels of a process may hold of their peers' data, in bytes. With what a daemon needs for
// itself it leaves a machine of 512 MB its peace, and it is enough for eight targets that do not keep up.
const DefaultMemory = 8 << 20

// Memory is a limit on what waits in all tunnels that share it: for targets that do not take it, and in messages
// that the tunnel does not take. The messages count but never wait, one a tunnel; at least half of the limit is for
// targets. It is safe for concurrent use; nil limits nothing.
//
// When it is all in use, each tunnel that needs some waits, and the connection that has taken nothing for the longest
// time, in whichever tunnel, is treated as one that holds up its own.
type Memory struct {
	limit int

	mu      sync.Mutex // taken after a mux's, never before one
	queued  int        // in inboxes
	sending int        // in messages
	tunnels map[*mux]struct{}
	waiting []*mux
}

// NewMemory returns a limit of so many bytes.
func NewMemory(limit int) *Memory {
	return &Memory{limit: limit, tunnels: make(map[*mux]struct{})}
}

// join adds a tunnel, whose connections may have to give way from now on.
func (y *Memory) join(m *mux) {
	if y == nil {
		return
	}
	m.nudge = time.AfterFunc(time.Hour, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.nudged = true
		m.room.Broadcast()
	})
	m.nudge.Stop()
	y.mu.Lock()
	defer y.mu.Unlock()
	y.tunnels[m] = struct{}{}
}

func (y *Memory) leave(m *mux) {
	if y == nil {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	delete(y.tunnels, m)
	m.nudge.Stop()
}

// take reserves n bytes for m, or sees to it that m is nudged when there are some.
func (y *Memory) take(m *mux, n int) bool {
	if y == nil {
		return true
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.queued+n > y.room() {
		y.waiting = append(y.waiting, m)
		return false
	}
	y.queued += n
	return true
}

// room is the inboxes' share.
func (y *Memory) room() int { return max(y.limit-y.sending, y.limit/2) }

// tight tells whether not even a small chunk is left.
func (y *Memory) tight() bool {
	if y == nil {
		return false
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.queued+smallChunk > y.room()
}

// force takes n bytes that cannot wait: of a payload that is in the target by half.
func (y *Memory) force(n int) {
	if y != nil {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.queued += n
	}
}

// give returns n bytes that were taken.
func (y *Memory) give(n int) {
	if y == nil || n == 0 {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.queued -= n
	y.wake()
}

// send notes that a message of n bytes is built, or with -n that it is gone.
func (y *Memory) send(n int) {
	if y == nil {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.sending += n
	if n < 0 {
		y.wake()
	}
}

// wake lets those that wait try again. Their locks come before this one, so a timer's goroutine does it.
func (y *Memory) wake() {
	for i, m := range y.waiting {
		if _, ok := y.tunnels[m]; ok {
			m.nudge.Reset(0)
		}
		y.waiting[i] = nil
	}
	y.waiting = y.waiting[:0]
}

// relieve makes the connection that took nothing for the longest time end, if it is over its time, for a tunnel that
// has waited since a moment. It returns how long to wait otherwise. No lock may be held.
func (y *Memory) relieve(since time.Time, stall time.Duration) time.Duration {
	y.mu.Lock()
	all := make([]*mux, 0, len(y.tunnels))
	for m := range y.tunnels {
		all = append(all, m)
	}
	y.mu.Unlock()
	var slow *connection
	var progress time.Time
	for _, m := range all {
		m.mu.Lock()
		for c := range m.conns {
			if c.state != aborted && c.inbox.charged > 0 && (slow == nil || c.progress.Before(progress)) {
				slow, progress = c, c.progress
			}
		}
		m.mu.Unlock()
	}
	if slow == nil {
		return stall // what is in use is about to be given back
	}
	left, hold := stall-time.Since(progress), holdFactor*stall-time.Since(since)
	if left > 0 && hold > 0 {
		return min(left, hold)
	}
	slow.m.mu.Lock()
	defer slow.m.mu.Unlock()
	if slow.state != aborted && slow.inbox.charged > 0 && slow.progress.Equal(progress) {
		slow.m.stalled(slow, left <= 0)
	}
	return 0
}

// awaitMemory waits until there may be memory, with mu given up meanwhile.
func (m *mux) awaitMemory(since time.Time) {
	m.mu.Unlock()
	left := m.memory.relieve(since, m.stall)
	m.mu.Lock()
	if left > 0 && !m.nudged && !m.ended {
		m.waitRoom(left)
	}
	m.nudged = false
}
