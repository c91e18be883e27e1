package resume

import (
	"crypto/rand"
	"sync"
	"time"
)

const (
	// DefaultWindow is how long a detached connection waits for the next transport.
	DefaultWindow = 10 * time.Minute
	// MaxWindow is the longest that it may be.
	MaxWindow = 24 * time.Hour
	// MaxDetached bounds the connections of a process that wait.
	MaxDetached = 1024
	// tombstones is how many finished connections are remembered, so that a far end that missed the last word
	// learns that all went well.
	tombstones = 1024
)

// NewID returns a random identity.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// Conn is a connection in a Registry. Expire is called with the registry's lock held: it ends the connection,
// which is in the registry no more.
type Conn interface{ Expire(why Reason) }

// Registry knows a process's connections by ID. Its lock guards it, the connections in it and their Streams:
// hold it for all methods.
type Registry struct {
	sync.Mutex
	Memory *Memory
	// HandOver says that another process will go on with the connections: they are detached at the end, not ended, and
	// no transport takes anything more from its peer.
	HandOver bool
	// Ending counts connections that are in no transport's care and have yet to report their end.
	Ending sync.WaitGroup

	window   time.Duration
	conns    map[ID]Conn
	detached map[ID]*wait
	lingers  map[ID]struct{}
	resumed  uint64
	expired  uint64
	finished map[ID]struct{}
	order    []ID // of finished, a ring
	oldest   int
	closed   bool

	opens opens // as a destination
	peer  Peer  // as a source

	farewells []Farewell // as a source, the oldest first
}

// wait is what is known of a connection while it has no transport.
type wait struct {
	owner any           // the tunnel that it was on
	since time.Time     // when it lost its transport
	most  time.Duration // how long it may wait
	timer *time.Timer
}

// NewRegistry returns an empty Registry. window is how long connections wait for a transport; 0 or less means
// that they are not resumed.
func NewRegistry(window time.Duration, memory *Memory) *Registry {
	return &Registry{
		Memory: memory, window: window, conns: make(map[ID]Conn), detached: make(map[ID]*wait), lingers: make(map[ID]struct{}),
		finished: make(map[ID]struct{}),
		opens:    newOpens(),
	}
}

// Enabled reports whether connections are kept when their transport is lost. It needs no lock.
func (r *Registry) Enabled() bool { return r != nil && r.window > 0 }

// Keeps reports whether a connection that loses its transport now may wait for another one.
func (r *Registry) Keeps() bool { return r.Enabled() && !r.closed }

// Add notes an attached connection. It returns false where the ID is taken.
func (r *Registry) Add(id ID, c Conn) bool {
	if _, ok := r.conns[id]; ok || id == (ID{}) {
		return false
	}
	r.conns[id] = c
	return true
}

// Find returns a connection, attached or not.
func (r *Registry) Find(id ID) (Conn, bool) {
	c, ok := r.conns[id]
	return c, ok
}

// Detach notes that a connection lost its transport, and ends it after the window. It returns false where the
// connection cannot wait. Where too many wait, one of the owner that has most of them ends, the one that has waited the
// longest, and no other owner's. owner is compared.
func (r *Registry) Detach(id ID, owner any) bool { return r.DetachFor(id, owner, r.window) }

// DetachFor is Detach with a shorter wait.
func (r *Registry) DetachFor(id ID, owner any, most time.Duration) bool {
	if r.conns[id] == nil || !r.Keeps() {
		return false
	}
	if r.detached[id] != nil {
		return true
	}
	if len(r.detached) >= MaxDetached {
		r.Evict(0)
	}
	w := &wait{owner: owner, since: time.Now(), most: min(most, r.window)}
	w.timer = time.AfterFunc(w.most, func() {
		r.Lock()
		defer r.Unlock()
		if r.detached[id] == w {
			r.expire(id, Unknown)
		}
	})
	r.detached[id] = w
	return true
}

// Linger notes that both ends have finished with a connection, whose application here has yet to take what was received. It
// waits for no transport: it is removed when its application has all, or expires with the registry.
func (r *Registry) Linger(id ID) {
	switch {
	case r.conns[id] == nil:
	case r.closed:
		r.expire(id, Stopped)
	default:
		r.lingers[id] = struct{}{}
	}
}

// Attach notes that a connection has a transport again. It returns how long it had none.
func (r *Registry) Attach(id ID) time.Duration {
	w := r.detached[id]
	if w == nil {
		return 0
	}
	r.endWait(id)
	r.resumed++
	return time.Since(w.since)
}

// endWait notes that a connection waits no more, if it did.
func (r *Registry) endWait(id ID) {
	if w := r.detached[id]; w != nil {
		w.timer.Stop()
		delete(r.detached, id)
	}
}

// Remove forgets a connection that has ended. One that ended in order is remembered as such for a while.
func (r *Registry) Remove(id ID, why Reason) {
	if r.conns[id] == nil {
		return
	}
	r.endWait(id)
	delete(r.lingers, id)
	delete(r.conns, id)
	if why == Done {
		r.bury(id)
	}
}

func (r *Registry) bury(id ID) {
	if len(r.order) < tombstones {
		r.order = append(r.order, id)
	} else {
		delete(r.finished, r.order[r.oldest])
		r.order[r.oldest] = id
		r.oldest = (r.oldest + 1) % tombstones
	}
	r.finished[id] = struct{}{}
}

// Fate is why a connection that is not in the registry is gone.
func (r *Registry) Fate(id ID) Reason {
	if _, ok := r.finished[id]; ok {
		return Done
	}
	return Unknown
}

func (r *Registry) expire(id ID, why Reason) {
	c := r.conns[id]
	r.expired++
	r.Remove(id, why)
	c.Expire(why)
}

// All calls f with each connection, attached or not.
func (r *Registry) All(f func(Conn)) {
	for _, c := range r.conns {
		f(c)
	}
}

// Evict ends the connection that has waited longest, of the owner with the most waiting connections, if that owner has
// more than the given number. It reports whether it did.
func (r *Registry) Evict(than int) bool {
	if len(r.detached) <= than {
		return false
	}
	owners := make(map[any]int)
	var most any
	for _, w := range r.detached {
		if owners[w.owner]++; most == nil || owners[w.owner] > owners[most] {
			most = w.owner
		}
	}
	if owners[most] <= than {
		return false
	}
	var oldest *wait
	var which ID
	for id, w := range r.detached {
		if w.owner == most && (oldest == nil || w.since.Before(oldest.since)) {
			oldest, which = w, id
		}
	}
	r.expire(which, LimitHit)
	return true
}

// Detached is how many connections have no transport.
func (r *Registry) Detached() int { return len(r.detached) }

// Waiting returns the connections without a transport.
func (r *Registry) Waiting() []Conn {
	all := make([]Conn, 0, len(r.detached))
	for id := range r.detached {
		all = append(all, r.conns[id])
	}
	return all
}

// Close ends the connections without a transport. From now on none waits.
func (r *Registry) Close(why Reason) {
	r.closed = true
	for id := range r.detached {
		r.expire(id, why)
	}
	for id := range r.lingers {
		r.expire(id, why)
	}
}

// Stats counts the connections of a Registry.
type Stats struct {
	Detached int           // that wait now
	Longest  time.Duration // how long the first of them has waited
	Resumed  uint64        // so far
	Expired  uint64        // that waited in vain
	Kept     int           // bytes
}

// Stats returns the counts. It takes the lock itself.
func (r *Registry) Stats() Stats {
	if r == nil {
		return Stats{}
	}
	r.Lock()
	defer r.Unlock()
	s := Stats{Detached: len(r.detached), Resumed: r.resumed, Expired: r.expired, Kept: r.Memory.Used()}
	for _, w := range r.detached {
		s.Longest = max(s.Longest, time.Since(w.since))
	}
	return s
}
