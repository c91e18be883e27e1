package loglimit

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestAKindIsWrittenOnceAnInterval(t *testing.T) {
	var l Limiter
	start := time.Unix(0, 0)
	for i, want := range []struct {
		after      time.Duration
		suppressed int
		ok         bool
	}{{0, 0, true}, {time.Second, 0, false}, {29 * time.Second, 0, false}, {30 * time.Second, 2, true}, {31 * time.Second, 0, false}} {
		if n, ok := l.Allow("full", start.Add(want.after)); n != want.suppressed || ok != want.ok {
			t.Errorf("event %d: %d, %v, want %d, %v", i, n, ok, want.suppressed, want.ok)
		}
	}
	if _, ok := l.Allow("refused", start); !ok {
		t.Error("the first event of another kind was suppressed")
	}
}

func TestAFloodOfKindsSharesOne(t *testing.T) {
	l := Limiter{Kinds: 4}
	written := 0
	for i := range 1000 {
		if _, ok := l.Allow(fmt.Sprint(i), time.Unix(0, 0)); ok {
			written++
		}
	}
	if written > 5 || len(l.kinds) > 5 {
		t.Errorf("%d lines of %d kinds", written, len(l.kinds))
	}
	if _, ok := l.Allow("new", time.Unix(60, 0)); !ok {
		t.Error("a new kind was suppressed after the flood")
	}
}

// TestKindsThatRepeatedMakeRoom: a limiter whose kinds all have something to report, and are over, still tells new kinds
// apart. The count of one that made room is not lost.
func TestKindsThatRepeatedMakeRoom(t *testing.T) {
	const kinds = 16
	l := Limiter{Every: time.Hour, Kinds: kinds}
	start := time.Unix(0, 0)
	at := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	for i := range kinds {
		for range 2 {
			l.Allow(fmt.Sprint(i), start.Add(time.Duration(i)*time.Second))
		}
	}
	if _, ok := l.Allow("early", at(0).Add(time.Minute)); !ok {
		t.Error("the first of those that share a kind was suppressed")
	}
	for hour := 2; hour < 100; hour++ {
		for _, name := range []string{"a", "b"} { // two new ones within the hour
			key := fmt.Sprint(name, hour)
			if n, ok := l.Allow(key, at(hour)); !ok || n != 0 {
				t.Fatalf("hour %d: the first of kind %s: %d, %v", hour, key, n, ok)
			}
			if _, ok := l.Allow(key, at(hour)); ok {
				t.Fatalf("hour %d: %s was written twice", hour, key)
			}
		}
		if len(l.kinds) > kinds+1 {
			t.Fatalf("%d kinds are kept", len(l.kinds))
		}
	}
	// All kinds are new within the hour now: the next one shares, and reports what the others have not.
	for i := range kinds {
		l.Allow(fmt.Sprint("last", i), at(100))
	}
	kept := 0
	for _, k := range l.kinds {
		kept += k.suppressed
	}
	repeated := kinds + 2*98
	if n, ok := l.Allow("one more", at(100)); !ok || n+kept != repeated {
		t.Errorf("%d are reported, %v, and %d kept; %d were suppressed", n, ok, kept, repeated)
	}
}

// TestNoMoreLinesThanKindsInAnInterval: kinds that make room for others bring no more lines than the kinds told apart, and
// the one that the others share, whatever comes.
func TestNoMoreLinesThanKindsInAnInterval(t *testing.T) {
	const kinds = 8
	random := rand.New(rand.NewPCG(1, 2))
	l := Limiter{Every: time.Hour, Kinds: kinds}
	var written []time.Time
	now := time.Unix(0, 0)
	for range 100_000 {
		now = now.Add(time.Duration(random.Int64N(int64(5 * time.Minute))))
		if _, ok := l.Allow(fmt.Sprint(random.IntN(3*kinds)), now); ok {
			written = append(written, now)
		}
	}
	for i := range written[kinds+1:] {
		if d := written[i+kinds+1].Sub(written[i]); d < l.Every {
			t.Fatalf("%d lines in %v", kinds+2, d)
		}
	}
}
