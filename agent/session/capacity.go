package session

import (
	"errors"
	"time"
)

// evictAfter is how long a token has a place for itself though it has never connected. Those that can't connect, made-up
// ones and those of a region that is out of reach, must not keep the others out for 12 h; and where nothing
// can connect, it is the newest token that will work once the network is back: rotations have ended the others.
const evictAfter = time.Minute

var errEvicted = errors.New("it has never connected, and a newer token has taken its place: " + adviceRotate)

// occupied counts the sessions that have a place. It is called with mu held.
func (m *Manager) occupied() int {
	n := 0
	for _, s := range m.live {
		if !s.evicted {
			n++
		}
	}
	return n
}

// evictStale ends the oldest session that has had its time and has never connected, and tells whether there was one. A
// tunnel that has stood keeps its place, whatever has become of it. It is called with mu held.
func (m *Manager) evictStale() bool {
	var oldest *session
	for _, s := range m.live {
		if !s.evicted && s.hopeless() && (oldest == nil || s.received.Before(oldest.received)) {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	oldest.evicted = true
	oldest.cancel(errEvicted)
	return true
}

// hopeless tells whether the session has had evictAfter and its pair has never worked.
func (s *session) hopeless() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.resumedOK && s.status.Connects == 0 && time.Since(s.began) >= evictAfter
}
