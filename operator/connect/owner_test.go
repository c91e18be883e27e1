package connect

import (
	"testing"
	"testing/synctest"
	"time"
)

// A source connection of an unknown time is this side's last one until the service must have noticed its end.
func TestWhoseAConnectionIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(&Config{}, &tunnel{id: "a"})
		c, first := s.current.Load(), time.Now()
		want := func(when string, at time.Time, want owner) {
			t.Helper()
			if got := s.owner(c, at); got != want {
				t.Errorf("%s: %d, want %d", when, got, want)
			}
		}
		want("before the first link", first, others)
		c.links.Store(1)
		c.connectedAt, c.recorded = first, 1
		want("it is the first link", first, ours)
		want("after the first link", first.Add(time.Second), others)
		c.links.Store(2)
		second := first.Add(time.Minute)
		want("of a tunnel that others may have found, too", second, others)
		c.contested = false
		want("of the second link, or another's", second, unclear)
		time.Sleep(unnoticed)
		want("as long as the service may take", second, unclear)
		want("another time", second.Add(time.Second), others)
		c.links.Store(3)
		want("of the third link, or another's", second.Add(2*time.Second), unclear)
		time.Sleep(unnoticed + time.Second)
		want("longer than the service may take", second.Add(2*time.Second), others)
	})
}
