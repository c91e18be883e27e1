package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDelaysGrowToTheLimitAndStayThere(t *testing.T) {
	b := Backoff{Random: func() float64 { return 0.999999 }}
	want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, 60 * time.Second}
	for i := range 200 {
		w := want[min(i, len(want)-1)]
		if got := b.Next(0).Round(time.Millisecond); got != w {
			t.Fatalf("delay %d = %v, want %v", i, got, w)
		}
	}
	b.Reset()
	if got := b.Next(0).Round(time.Millisecond); got != want[0] {
		t.Errorf("after Reset: %v, want %v", got, want[0])
	}
}

func TestDelaysSpreadOverTheWholeRange(t *testing.T) {
	var low, high int
	for range 2000 {
		b := Backoff{failures: 20}
		switch d := b.Next(0); {
		case d < DefaultMin/2 || d > DefaultMax:
			t.Fatalf("delay %v is out of bounds", d)
		case d < DefaultMax/4:
			low++
		case d > DefaultMax*3/4:
			high++
		}
	}
	// A quarter each is expected; 300 of 2,000 is more than 8 standard deviations away from it.
	if low < 300 || high < 300 {
		t.Errorf("%d of 2000 draws in the lowest quarter, %d in the highest: no full jitter", low, high)
	}
}

// The first delay after a loss that a whole fleet has at one moment: no instant may be most devices' own.
func TestFirstDelaysSpreadEvenly(t *testing.T) {
	const draws, slots = 4000, 10
	var seen [slots]int
	for range draws {
		var b Backoff
		d := b.Next(0) - DefaultMin/2
		if d < 0 || d >= DefaultMin/2 {
			t.Fatalf("delay %v is out of bounds", d+DefaultMin/2)
		}
		seen[d*slots/(DefaultMin/2)]++
	}
	for i, n := range seen {
		// 400 are expected in each; 250 and 550 are more than 7 standard deviations away.
		if n < 250 || n > 550 {
			t.Errorf("%d of %d first delays in slot %d of %d", n, draws, i, slots)
		}
	}
}

func TestRetryAfterIsAFloor(t *testing.T) {
	for range 100 {
		var b Backoff
		if d := b.Next(7 * time.Second); d < 7*time.Second || d > 7*time.Second+DefaultMin {
			t.Fatalf("delay %v for a Retry-After of 7s", d)
		}
	}
}

func TestAFleetThatIsToldTheSameSecondAgainAndAgainSpreads(t *testing.T) {
	var bound time.Duration
	for i := range 10 {
		bound = min(DefaultMin<<i, DefaultMax)
		var latest time.Duration
		for range 500 {
			b := Backoff{failures: i}
			d := b.Next(90 * time.Second)
			if d < 90*time.Second || d > 90*time.Second+bound {
				t.Fatalf("delay %v after %d failures", d, i)
			}
			latest = max(latest, d)
		}
		if spread := latest - 90*time.Second; spread < bound*9/10 {
			t.Errorf("after %d failures 500 devices spread over %v, want about %v", i, spread, bound)
		}
	}
	if bound != DefaultMax {
		t.Errorf("the last bound is %v", bound)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(reason) })
		start := time.Now()
		if err := Sleep(ctx, time.Hour); !errors.Is(err, reason) {
			t.Errorf("err = %v", err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("returned after %v", d)
		}
	})
}
