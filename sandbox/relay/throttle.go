package relay

import (
	"sync"
	"time"
)

// bucket limits a rate.
type bucket struct {
	mu   sync.Mutex
	rate float64 // bytes a second
	next time.Time
}

// burst is how much unused time a bucket saves up.
const burst = 50 * time.Millisecond

func newBucket(rate int) *bucket { return &bucket{rate: float64(rate)} }

// reserve takes n bytes and returns how long to wait before using them.
func (b *bucket) reserve(n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if earliest := now.Add(-burst); b.next.Before(earliest) {
		b.next = earliest
	}
	b.next = b.next.Add(time.Duration(float64(n) / b.rate * float64(time.Second)))
	return b.next.Sub(now)
}

func (p *peer) throttle(limits []*bucket, n int) {
	for _, b := range limits {
		p.pause(b.reserve(n))
	}
}
