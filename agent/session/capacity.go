package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
)

const (
	// evictAfter is how long a session keeps its place without a connection once a newer token wants it.
	// Made-up tokens and those of a region out of reach must not keep others out for 12 h; and where
	// nothing can connect, the newest token is the one that will work: rotations have ended the others.
	evictAfter = 5 * time.Second
	// replaceTime is how long after a connection above the limit the service has to end the tunnel that
	// it replaces. It does so at once.
	replaceTime = 3 * time.Second
	// placePatience is how long a token waits for a place.
	placePatience = 15 * time.Second
	// maxGuests bounds the sessions that connect above the limit at a time.
	maxGuests = 4
	// maxQueued bounds those that wait without a connection. The oldest are refused first.
	maxQueued = 16
	// arrangeEvery is how often places are looked at while a token wants one.
	arrangeEvery = time.Second
)

var (
	errEvicted     = hint.New("it was not connected, and a newer token has taken its place", adviceRotate)
	errAwaitsPlace = errors.New("as many tunnels are live as tunnel.max_tunnels allows: it waits for a place")
)

// noPlaceError is the end of a session that found no place.
type noPlaceError struct{ live int }

func (e *noPlaceError) Error() string {
	live := "1 tunnel is live"
	if e.live != 1 {
		live = fmt.Sprintf("%d tunnels are live", e.live)
	}
	return live + ", as many as tunnel.max_tunnels allows"
}

// Hint says how to make room.
func (*noPlaceError) Hint() string {
	return "close one or raise tunnel.max_tunnels, then rotate this tunnel's access tokens"
}

// place is what a session holds of tunnel.max_tunnels.
type place int

const (
	queued place = iota // it waits, and has not connected
	guest               // it connects above the limit: its token may replace that of a tunnel that stands
	seated
	leaving // its session was told to end
)

// occupied counts the sessions that connect. It is called with mu held.
func (m *Manager) occupied() int { return m.count(seated) + m.count(guest) }

func (m *Manager) count(p place) int {
	n := 0
	for _, s := range m.live {
		if s.place == p {
			n++
		}
	}
	return n
}

// arrange gives places to the sessions that want one, the newest first. A rotation's token is one of
// them: it connects as a guest, the service ends the websocket of the token before it, and the place is
// free. It is called with mu held, whenever something has changed and every second while one waits.
func (m *Manager) arrange() {
	now := time.Now()
	waiting := m.waiting()
	for _, s := range waiting {
		switch {
		case m.count(seated) < m.maxTunnels, m.evict(s, now):
			m.admit(s, seated)
		case m.someDown(s): // it may be the one that s replaces
			m.try(s)
		case s.place == guest && s.connectedSince(now) >= replaceTime, now.Sub(s.began) >= placePatience:
			m.refuse(s)
		default:
			m.try(s)
		}
	}
	waiting = slices.DeleteFunc(waiting, func(s *session) bool { return s.place != queued })
	for _, s := range waiting[min(maxQueued, len(waiting)):] {
		m.refuse(s)
	}
	if m.count(queued)+m.count(guest) == 0 {
		m.resumeParked()
		return
	}
	if m.arranger == nil && !m.closed {
		m.arranger = time.AfterFunc(arrangeEvery, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.arranger = nil
			m.arrange()
		})
	}
}

// waiting returns the sessions without a place of their own, the newest first.
func (m *Manager) waiting() []*session {
	var all []*session
	for _, s := range m.live {
		if s.place == queued || s.place == guest {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *session) int { return b.order - a.order })
	return all
}

func (m *Manager) admit(s *session, p place) {
	if s.place == queued {
		close(s.admitted)
	}
	s.place = p
}

// try lets a session connect above the limit, if few others do.
func (m *Manager) try(s *session) {
	if s.place == queued && m.count(guest) < maxGuests {
		m.admit(s, guest)
	}
}

// someDown reports whether a session with a place, older than s, is without a connection.
func (m *Manager) someDown(s *session) bool {
	for _, v := range m.live {
		if v.place == seated && v.order < s.order && v.down() {
			return true
		}
	}
	return false
}

func (m *Manager) refuse(s *session) {
	err := &noPlaceError{m.count(seated)}
	s.place = leaving
	m.refused++
	s.cancel(err)
}

// evict ends a session that is older than s and has been without a connection for evictAfter, and reports
// whether there was one. Those that have never connected go first, then the one that was lost first.
func (m *Manager) evict(s *session, now time.Time) bool {
	var stalest *session
	for _, v := range m.live {
		if v.place == seated && v.order < s.order && v.downFor(now) >= evictAfter &&
			(stalest == nil || v.staler(stalest)) {
			stalest = v
		}
	}
	if stalest == nil {
		return false
	}
	stalest.place = leaving
	stalest.cancel(errEvicted)
	return true
}

// staler reports whether s is worth less than t. Both are without a connection.
func (s *session) staler(t *session) bool {
	if a, b := s.everWorked(), t.everWorked(); a != b {
		return b
	}
	return s.order < t.order
}

func (s *session) everWorked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resumedOK || s.status.Connects > 0
}

func (s *session) down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.downSince.IsZero()
}

// downFor is how long the session has been without a connection, 0 if it has one.
func (s *session) downFor(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.downSince.IsZero() {
		return 0
	}
	return now.Sub(s.downSince)
}

// connectedSince is how long the session has been connected, 0 if it is not.
func (s *session) connectedSince(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.State != Connected {
		return 0
	}
	return now.Sub(s.status.Since)
}
