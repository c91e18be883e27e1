package main

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/retry"
)

// night is an outage in fake time: all clients lose their connections in the same moment, nothing answers for a while,
// and then the service takes a number of connections a second and refuses the rest.
type night struct {
	clients int
	outage  time.Duration
	limit   int // connections a second
	// refused returns the wait after a refusal at now; nil means a session's wait after 429.
	refused func(p *retry.Policy, now time.Time) time.Duration
	seed    uint64
}

// second counts the events of one second of a night.
type second struct{ attempts, refused, connected int }

// result describes a night from the service's return on.
type result struct {
	seconds  []second      // of the time after the outage
	all      time.Duration // until the last client was back
	attempts int           // after the outage, of all clients
	most     int           // of one client
}

// ideal is the time that a service which is never idle needs for all clients.
func (n night) ideal() time.Duration {
	return time.Duration(float64(n.clients) / float64(n.limit) * float64(time.Second))
}

type attempt struct {
	at     time.Duration // since the beginning of the outage
	client int
}

type queue []attempt

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, k int) bool { return q[i].at < q[k].at }
func (q queue) Swap(i, k int)      { q[i], q[k] = q[k], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(attempt)) } //nolint:forcetypeassert // the heap's own
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// throttled is a session's wait after 429.
func throttled(p *retry.Policy, now time.Time) time.Duration {
	return p.Refused(retry.Refusal{Status: 429}, now).Delay
}

// dropped is the MQTT client's wait after a CONNECT that was dropped.
func dropped(p *retry.Policy, _ time.Time) time.Duration { return max(p.Failed(0), time.Second) }

// run plays the night with the back-off of the product.
func (n night) run() result {
	random := rand.New(rand.NewPCG(n.seed, 1)) //nolint:gosec // every run must be the same
	if n.refused == nil {
		n.refused = throttled
	}
	start := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	clients := make([]retry.Policy, n.clients)
	tries := make([]int, n.clients)
	q := make(queue, 0, n.clients)
	for i := range clients {
		clients[i] = retry.Policy{Worked: true, Backoff: backoff.Backoff{Random: random.Float64}}
		// The connection had been up for hours.
		q = append(q, attempt{clients[i].Failed(time.Hour), i})
	}
	heap.Init(&q)
	var r result
	var tokens float64 // the limit allows a second's worth at once
	last := n.outage
	for len(q) > 0 {
		a := q[0]
		p := &clients[a.client]
		if a.at < n.outage {
			q[0].at = a.at + max(p.Failed(0), time.Millisecond)
			heap.Fix(&q, 0)
			continue
		}
		at := int((a.at - n.outage) / time.Second)
		for len(r.seconds) <= at {
			r.seconds = append(r.seconds, second{})
		}
		s := &r.seconds[at]
		s.attempts++
		r.attempts++
		tries[a.client]++
		r.most = max(r.most, tries[a.client])
		tokens = min(float64(n.limit), tokens+(a.at-last).Seconds()*float64(n.limit))
		last = a.at
		if tokens >= 1 {
			tokens--
			s.connected++
			p.Opened()
			r.all = a.at - n.outage
			heap.Pop(&q)
			continue
		}
		s.refused++
		q[0].at = a.at + max(n.refused(p, start.Add(a.at)), time.Millisecond)
		heap.Fix(&q, 0)
	}
	return r
}
