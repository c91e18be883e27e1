package stream

import (
	"sync"
	"time"
)

// Defaults of a [BudgetConfig].
const (
	// DefaultMemory fits comfortably on a 512 MB machine, and is enough for eight targets that do not
	// keep up.
	DefaultMemory = 8 << 20
	// DefaultDials is how many targets a process dials at a time.
	DefaultDials = 256
)

const (
	// memoryReserve is what each tunnel may hold whatever the others do, in bytes. All reserves together
	// are at most half of the limit.
	memoryReserve = 512 << 10
	// connectionReserve is how many connections each tunnel may have whatever the others do.
	connectionReserve = 16
)

// BudgetConfig says what the tunnels of a process may use together. Zero fields mean the defaults.
type BudgetConfig struct {
	Memory      int // held of the peers' data, in bytes; 0 means DefaultMemory
	Connections int // at a time; 0 means no limit besides each tunnel's own
	Dials       int // at a time; 0 means DefaultDials
}

// Budget is what all tunnels of a process share: memory for what waits, connections, and dials. Each tunnel
// has a small reserve of all three, so that none can take them away from the others. A Budget is safe for
// concurrent use; nil limits nothing.
//
// Messages that a tunnel does not take count as memory but never wait, one a tunnel; at least half of the
// memory is for targets. A tunnel that joins when all memory is in use has its reserve on top, until the
// others give something back: all reserves together are at most half of the memory. When the shared part is in use, each tunnel above its reserve waits. The slowest
// connection of the tunnel that holds most is then treated as one that holds up its own tunnel.
type Budget struct {
	cfg   BudgetConfig
	dials chan struct{} // a place for each dial

	mu          sync.Mutex // taken after a tunnel's lock, never before one
	queued      int        // bytes in inboxes
	sending     int        // bytes in messages
	connections int
	tunnels     map[*backlog]struct{}
	waiting     []*backlog // for memory
}

// NewBudget returns a budget that tunnels share by their [Config].
func NewBudget(cfg BudgetConfig) *Budget {
	if cfg.Memory <= 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Dials <= 0 {
		cfg.Dials = DefaultDials
	}
	return &Budget{cfg: cfg, dials: make(chan struct{}, cfg.Dials), tunnels: make(map[*backlog]struct{})}
}

// use is what a tunnel has of its budget. It is guarded by Budget.mu.
type use struct {
	memory      int // bytes
	connections int
}

// join adds a tunnel, whose connections may have to give way from now on.
func (y *Budget) join(b *backlog) {
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

func (y *Budget) leave(b *backlog) {
	if y == nil {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	delete(y.tunnels, b)
	b.nudge.Stop()
}

// reserve is each tunnel's part of the memory.
func (y *Budget) reserve() int { return min(memoryReserve, y.cfg.Memory/2/max(len(y.tunnels), 1)) }

// has reports whether b may have n bytes more: of its reserve, or of what no other tunnel has reserved.
func (y *Budget) has(b *backlog, n int) bool {
	reserve := y.reserve()
	if b.used.memory+n <= reserve {
		return true
	}
	free := max(y.cfg.Memory-y.sending, y.cfg.Memory/2) - y.queued
	for t := range y.tunnels {
		if t != b {
			free -= max(reserve-t.used.memory, 0)
		}
	}
	return n <= free
}

// take reserves n bytes for b, or arranges that b is nudged when there are some.
func (y *Budget) take(b *backlog, n int) bool {
	if y == nil {
		return true
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.has(b, n) {
		y.waiting = append(y.waiting, b)
		return false
	}
	y.queued += n
	b.used.memory += n
	return true
}

// low reports whether not even a small chunk is left for b.
func (y *Budget) low(b *backlog) bool {
	if y == nil {
		return false
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	return !y.has(b, smallChunk)
}

// force takes n bytes that cannot wait: of a payload that is in the target by half.
func (y *Budget) force(b *backlog, n int) {
	if y != nil {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.queued += n
		b.used.memory += n
	}
}

// give returns n bytes that were taken.
func (y *Budget) give(b *backlog, n int) {
	if y == nil || n == 0 {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.queued -= n
	b.used.memory -= n
	y.wake()
}

// send notes that a message of n bytes is built, or with -n that it is gone.
func (y *Budget) send(n int) {
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
func (y *Budget) wake() {
	for i, b := range y.waiting {
		if _, ok := y.tunnels[b]; ok {
			b.nudge.Reset(0)
		}
		y.waiting[i] = nil
	}
	y.waiting = y.waiting[:0]
}

// largest is the tunnel that holds most.
func (y *Budget) largest() (most *backlog) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for b := range y.tunnels {
		if most == nil || b.used.memory > most.used.memory {
			most = b
		}
	}
	return most
}

// relieve ends the slowest connection of the tunnel that holds most, if it is over its time, for a tunnel
// that has waited since a moment. Otherwise it returns how long to wait. No lock may be held.
func (y *Budget) relieve(since time.Time, stall time.Duration) time.Duration {
	owner := y.largest()
	if owner == nil {
		return stall
	}
	owner.mu.Lock()
	defer owner.mu.Unlock()
	slow := owner.slowest(1 << 30)
	if slow == nil {
		return stall // what is in use is about to be given back
	}
	left, hold := stall-time.Since(slow.progress), holdFactor*stall-time.Since(since)
	if left > 0 && hold > 0 {
		return min(left, hold)
	}
	owner.evict(slow, left <= 0)
	return 0
}

// connect reserves a connection for b, and reports whether there was one.
func (y *Budget) connect(b *backlog) bool {
	if y == nil {
		return true
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.cfg.Connections > 0 && y.connections >= y.cfg.Connections && b.used.connections >= connectionReserve {
		return false
	}
	y.connections++
	b.used.connections++
	return true
}

// connectionsOf returns the number of b's connections.
func (y *Budget) connectionsOf(b *backlog) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return b.used.connections
}

// count changes the number of the process's connections, and of b's among them. A connection that waits for a websocket
// belongs to no tunnel, but still to the process.
func (y *Budget) count(b *backlog, process, tunnel int) {
	if y != nil {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.connections += process
		b.used.connections += tunnel
	}
}
