package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Default bounds of the delay between two attempts.
const (
	DefaultMin = 500 * time.Millisecond
	DefaultMax = 60 * time.Second
)

// Backoff counts failed attempts of one task. The zero value is ready and uses the defaults.
// It is not safe for concurrent use.
type Backoff struct {
	Min time.Duration // upper bound of the first delay; 0 means DefaultMin
	Max time.Duration // upper bound of any delay; 0 means DefaultMax

	// Random draws from [0, 1); nil means math/rand/v2. Tests set it.
	Random func() float64

	failures int
}

// Next returns how long to wait before the next attempt: evenly drawn between Min/2, for the sake of the
// service, and a bound that doubles with each call, from Min to Max. floor, if larger, is
// the service's own wish (Retry-After); jitter up to the bound is added to it, so that a fleet that got
// the same answer does not return in the same second, and spreads more with each answer.
func (b *Backoff) Next(floor time.Duration) time.Duration {
	limit := b.Max
	if limit <= 0 {
		limit = DefaultMax
	}
	return b.next(limit, floor)
}

// NextWithin is Next with another upper bound of this delay, most. Max, if it is set, holds as well.
func (b *Backoff) NextWithin(most, floor time.Duration) time.Duration {
	if b.Max > 0 {
		most = min(most, b.Max)
	}
	return b.next(most, floor)
}

func (b *Backoff) next(limit, floor time.Duration) time.Duration {
	minimum := b.Min
	if minimum <= 0 {
		minimum = DefaultMin
	}
	bound := limit
	if b.failures < 32 && minimum<<b.failures < limit && minimum<<b.failures > 0 {
		bound = minimum << b.failures
	}
	b.failures++
	draw := b.Random
	if draw == nil {
		draw = rand.Float64
	}
	// Not the larger of Min/2 and a draw from 0 on: half of a fleet would come back after exactly Min/2.
	least := minimum / 2
	delay := least + time.Duration(draw()*float64(bound-least))
	if floor > delay {
		delay = floor + time.Duration(draw()*float64(bound))
	}
	return delay
}

// Reset starts over. Call it only after the connection has stood for a while: a service that accepts
// and drops at once must still see growing delays.
func (b *Backoff) Reset() { b.failures = 0 }

// Wait sleeps for Next(floor), or until ctx ends, whose error it then returns.
func (b *Backoff) Wait(ctx context.Context, floor time.Duration) error {
	return Sleep(ctx, b.Next(floor))
}

// Sleep waits for d or until ctx ends, whose error it then returns.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
