package rate

import (
	"testing"
	"time"
)

func TestASecondsWorthAtOnceAndThenThePace(t *testing.T) {
	var l Limiter
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	admitted := func(events int) (n int) {
		for range events {
			if !l.Over(10, now) {
				n++
			}
		}
		return n
	}
	if n := admitted(100); n != 10 {
		t.Errorf("%d admitted at once", n)
	}
	now = now.Add(300 * time.Millisecond)
	if n := admitted(100); n != 3 {
		t.Errorf("%d admitted after 0.3 s", n)
	}
	now = now.Add(time.Hour)
	if n := admitted(100); n != 10 {
		t.Errorf("%d admitted after an hour", n)
	}
	if l.Over(0, now) {
		t.Error("no limit refuses")
	}
}
