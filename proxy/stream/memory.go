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

	mu      sync.Mutex // taken after a tunnel's, never before one
	queued  int        // in inboxes
	sending int        // in messages
	tunnels map[*backlog]struct{}
	waiting []*backlog
}

// NewMemory returns a limit of so many bytes.
func NewMemory(limit int) *Memory {
	return &Memory{limit: limit, tunnels: make(map[*backlog]struct{})}
}

// join adds a tunnel, whose connections may have to give way from now on.
func (y *Memory) join(b *backlog) {
	if y == nil {
		return
	}
	b.nudge = time.AfterFunc(time.Hour, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.nudged = true
		b.room.Broadcast()
	})
	b.nudge.Stop()
	y.mu.Lock()
	defer y.mu.Unlock()
	y.tunnels[b] = struct{}{}
}

func (y *Memory) leave(b *backlog) {
	if y == nil {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	delete(y.tunnels, b)
	b.nudge.Stop()
}

// take reserves n bytes for b, or sees to it that b is nudged when there are some.
func (y *Memory) take(b *backlog, n int) bool {
	if y == nil {
		return true
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.queued+n > y.room() {
		y.waiting = append(y.waiting, b)
		return false
	}
	y.queued += n
	return true
}

// room is the inboxes' share.
func (y *Memory) room() int { return max(y.limit-y.sending, y.limit/2) }

// low reports whether not even a small chunk is left.
func (y *Memory) low() bool {
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
	for i, b := range y.waiting {
		if _, ok := y.tunnels[b]; ok {
			b.nudge.Reset(0)
		}
		y.waiting[i] = nil
	}
	y.waiting = y.waiting[:0]
}

// relieve makes the connection that took nothing for the longest time end, if it is over its time, for a tunnel that
// has waited since a moment. It returns how long to wait otherwise. No lock may be held.
func (y *Memory) relieve(since time.Time, stall time.Duration) time.Duration {
	y.mu.Lock()
	all := make([]*backlog, 0, len(y.tunnels))
	for b := range y.tunnels {
		all = append(all, b)
	}
	y.mu.Unlock()
	var slow *inbox
	var owner *backlog
	var progress time.Time
	for _, b := range all {
		b.mu.Lock()
		if q := b.slowest(1 << 30); q != nil && (slow == nil || q.progress.Before(progress)) {
			slow, owner, progress = q, b, q.progress
		}
		b.mu.Unlock()
	}
	if slow == nil {
		return stall // what is in use is about to be given back
	}
	left, hold := stall-time.Since(progress), holdFactor*stall-time.Since(since)
	if left > 0 && hold > 0 {
		return min(left, hold)
	}
	owner.mu.Lock()
	defer owner.mu.Unlock()
	if slow.conn.state != aborted && slow.charged > 0 && slow.progress.Equal(progress) {
		owner.evict(slow, left <= 0)
	}
	return 0
}
