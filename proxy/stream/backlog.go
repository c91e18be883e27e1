package stream

import (
	"sync"
	"time"
)

// backlog is what waits for the targets of a tunnel. It counts their memory, within the tunnel's limit and
// the process's, and lets the tunnel's reader wait for room. It knows no tunnel. It is guarded by mu, its
// owner's lock, which methods need unless they say otherwise.
type backlog struct {
	mu     *sync.Mutex
	budget *Budget // shared with other tunnels; nil limits nothing
	used   use     // of the budget
	queued int     // bytes charged by all inboxes
	room   sync.Cond
	timer  *time.Timer // ends a wait for room; made once, since bulk may wait for each frame
	nudge  *time.Timer // ends a wait for memory of the process; its goroutine has no lock
	nudged bool
	// each calls f with the inbox of each connection.
	each func(f func(*inbox))
	// evict ends the connection whose target took nothing, or too little, for too long.
	evict func(q *inbox, nothing bool)
}

// limit is what keeps bytes from waiting.
type limit uint8

const (
	noLimit      limit = iota
	inboxFull          // the target's own queue
	tunnelFull         // the tunnel's memory
	processLimit       // the memory of all tunnels
)

// reserve takes the memory for n bytes more in q, or says which limit forbids it. The inbox is the one to
// wait for: nil when memory is about to be given back anyway, by connections that were aborted.
func (b *backlog) reserve(q *inbox, n int) (limit, *inbox) {
	grow := q.growth(n)
	switch {
	case grow > 0 && q.charged+grow > inboxLimit:
		return inboxFull, q
	case b.queued+grow > tunnelLimit:
		return tunnelFull, b.slowest(b.queued + grow - tunnelLimit)
	case grow == 0 || b.budget.take(b, grow):
		return noLimit, nil
	}
	return processLimit, nil
}

// slowest is the inbox whose target took nothing for the longest time. It is nil when n bytes are about to
// be released anyway, by connections that were aborted.
func (b *backlog) slowest(n int) (slow *inbox) {
	b.each(func(q *inbox) {
		switch {
		case q.conn.state == aborted:
			n -= q.charged
		case q.charged > 0 && (slow == nil || q.progress.Before(slow.progress)):
			slow = q
		}
	})
	if n <= 0 {
		return nil
	}
	return slow
}

// lowMemory reports whether there is no memory left to gather in: a target that takes all at once then
// still gets it.
func (b *backlog) lowMemory() bool { return b.queued+smallChunk > tunnelLimit || b.budget.low(b) }

// force reserves n bytes that cannot wait: of a payload that is in the target by half.
func (b *backlog) force(n int) { b.budget.force(b, n) }

// put appends p, for which memory is reserved, to q.
func (b *backlog) put(q *inbox, p []byte) {
	before := q.charged
	q.put(p)
	b.queued += q.charged - before
}

// release gives a written chunk's memory back.
func (b *backlog) release(q *inbox, c *chunk) {
	before := q.charged
	q.release(c)
	b.freed(before - q.charged)
}

// clear drops what waits in q.
func (b *backlog) clear(q *inbox) {
	before := q.charged
	q.clear()
	b.freed(before - q.charged)
}

func (b *backlog) freed(n int) {
	b.queued -= n
	b.budget.give(b, n)
	b.room.Broadcast()
}

// wait waits until something was written, or the tunnel's state has changed.
func (b *backlog) wait() { b.room.Wait() }

// waitFor is wait with a limit.
func (b *backlog) waitFor(d time.Duration) {
	if b.timer == nil {
		b.timer = time.AfterFunc(d, b.wake)
	} else {
		b.timer.Reset(d)
	}
	b.room.Wait()
	b.timer.Stop()
}

// wake ends a wait. It takes the lock.
func (b *backlog) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.room.Broadcast()
}
