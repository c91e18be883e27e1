package session

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
)

// parkedFor is how long a pair that the configuration refuses stays on disk.
const parkedFor = 30 * 24 * time.Hour

// parked is a pair on disk without a session: only the configuration refuses it, and that may change.
type parked struct {
	pair  pair
	order int
}

// Resume starts the sessions whose pairs an earlier daemon has left in the state directory, the newest
// first. It returns how many. A pair that finds no place, or whose region is not in Regions, stays on disk
// and is resumed when that changes. How old a tunnel may be is the service's decision: the clock of either
// daemon may have been wrong.
//
// A disk that is slow is read in the background after a second. The error is [ErrShared], or nil.
func (m *Manager) Resume() (int, error) {
	type result struct {
		n   int
		err error
	}
	unread := make(chan struct{})
	m.mu.Lock()
	m.unread = unread
	m.mu.Unlock()
	m.takeOver() // before a source can ask for them
	done := make(chan result, 1)
	var late atomic.Bool
	m.tasks.Go(func() {
		n, err := m.resume()
		close(unread)
		if err != nil && late.Load() {
			m.log.Error("tunnels not resumed", "error", err, "hint", hint.Of(err))
		}
		done <- result{n, err}
	})
	limit := time.NewTimer(diskPatience)
	defer limit.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-limit.C:
		late.Store(true)
		return 0, nil
	}
}

func (m *Manager) resume() (int, error) {
	if err := m.store.open(); err != nil {
		return 0, err
	}
	now := time.Now()
	pairs := m.store.load(now)
	slices.SortFunc(pairs, func(a, b pair) int { return b.received.Compare(a.received) })
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for i, p := range pairs {
		if m.closed {
			break // the pair stays for the next daemon
		}
		if _, ok := m.live[p.key()]; ok {
			continue // its notification came again while the disk was slow
		}
		var reason error
		switch {
		case m.isForeign(p):
			m.notResumed(p, hint.New("it belongs to thing "+p.thing, "give each thing its own tunnel.state_dir"))
			continue
		case m.store.spent.has(p.key(), now):
			reason = errors.New("its session had ended before the restart")
			m.store.end(p.key(), now)
		default:
			reason = m.refuses(p)
			if reason == nil && m.count(seated) >= m.maxTunnels {
				reason = errAwaitsPlace
			}
			switch {
			case reason == nil:
				m.resumeOne(p, -i)
				n++
				continue
			case now.Sub(p.received) > parkedFor:
				m.store.end(p.key(), now)
			default:
				m.parked = append(m.parked, parked{p, -i})
			}
		}
		m.notResumed(p, reason)
	}
	return n, nil
}

// lookUp returns the pair of p's token that an earlier daemon has left, while Resume has not read all pairs: a new client
// token would spoil it. It returns nil if there is none, or if the disk does not answer within limit.
func (m *Manager) lookUp(limit context.Context, p pair) *pair {
	m.mu.Lock()
	unread := m.unread
	m.mu.Unlock()
	if unread == nil {
		return nil
	}
	select {
	case <-unread:
		return nil
	default:
	}
	found := make(chan *pair, 1)
	select {
	case <-unread:
		return nil
	case m.store.finding <- struct{}{}:
		go func() {
			found <- m.store.find(p.key())
			<-m.store.finding
		}()
	case <-limit.Done():
		return nil
	}
	select {
	case <-unread: // the pair is live or parked
		return nil
	case stored := <-found:
		if stored == nil || m.isForeign(*stored) {
			return nil
		}
		return stored
	case <-limit.Done():
		return nil
	}
}

// isForeign reports whether a pair is another thing's.
func (m *Manager) isForeign(p pair) bool {
	return p.thing != "" && m.cfg.ThingName != "" && p.thing != m.cfg.ThingName
}

func (m *Manager) resumeOne(p pair, order int) {
	m.admit(m.begin(p, order, &p, time.Time{}), seated)
}

func (m *Manager) notResumed(p pair, reason error) {
	m.log.Info("tunnel not resumed", "session", p.access.ID(), "region", p.region, "reason", hint.Line(reason))
}

// resumeParked gives free places to pairs on disk. It is called with mu held.
func (m *Manager) resumeParked() {
	m.parked = slices.DeleteFunc(m.parked, func(p parked) bool {
		if m.count(seated) >= m.maxTunnels || m.refuses(p.pair) != nil {
			return false
		}
		m.resumeOne(p.pair, p.order)
		return true
	})
}

// unpark returns the pair of a token, if it is parked.
func (m *Manager) unpark(key fingerprint) *pair {
	i := slices.IndexFunc(m.parked, func(p parked) bool { return p.pair.key() == key })
	if i < 0 {
		return nil
	}
	p := m.parked[i].pair
	m.parked = slices.Delete(m.parked, i, i+1)
	return &p
}
