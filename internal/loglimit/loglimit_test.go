package loglimit

import (
	"fmt"
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
