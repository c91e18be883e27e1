package rate

import (
	"sync"
	"time"
)

// Limiter admits a number of events a second, and a second's worth of them at once. The zero value is ready. Its methods
// are safe for concurrent use.
type Limiter struct {
	mu   sync.Mutex
	left float64
	last time.Time // zero: nothing was asked yet
}

// Over reports whether one more event at now is above perSecond; 0 is no limit. An event that is not over is counted.
func (l *Limiter) Over(perSecond int, now time.Time) bool {
	if perSecond <= 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	most := float64(perSecond)
	l.left = min(most, l.left+now.Sub(l.last).Seconds()*most)
	l.last = now
	if l.left < 1 {
		return true
	}
	l.left--
	return false
}
