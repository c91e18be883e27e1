package session

import (
	"slices"
	"testing"
	"time"
)

// Whoever can publish can make up tokens, and of regions that nobody can reach: such a session tries for 12 h. And where
// a device cannot reach the service for hours, each rotation brings a token that ends the one before, so that only the
// newest is worth its place.
func TestATokenThatNeverConnectsMakesWayForANewerOne(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		for _, name := range []string{"bogus-1", "bogus-2", "bogus-3", "new"} {
			w.script("TOKEN-"+name, slices.Repeat([]step{{err: errNetwork}}, 200)...)
		}
		w.script("TOKEN-lost", append([]step{{stands: time.Second, err: errClosed}}, slices.Repeat([]step{{err: errNetwork}}, 200)...)...)
		m := w.manager(func(c *Config) { c.MaxTunnels = 4 })
		accept(t, m, "lost", Accepted) // a tunnel that has stood, and whose network is down now
		pass(10 * time.Second)
		for _, name := range []string{"bogus-1", "bogus-2", "bogus-3"} {
			accept(t, m, name, Accepted)
			pass(time.Second)
		}
		pass(evictAfter - 4*time.Second)
		accept(t, m, "1", Refused) // each has its time
		pass(time.Second)
		accept(t, m, "1", Accepted)
		accept(t, m, "bogus-1", Known)
		accept(t, m, "2", Refused)
		pass(time.Second)
		accept(t, m, "2", Accepted)
		pass(time.Second)
		accept(t, m, "new", Accepted)
		accept(t, m, "3", Refused)
		pass(time.Hour)
		for name, want := range map[string]State{"lost": Waiting, "1": Connected, "2": Connected, "new": Waiting, "bogus-1": Ended, "bogus-2": Ended, "bogus-3": Ended} {
			if got := find(t, m, name); got.State != want || want == Ended && got.Reason != errEvicted.Error() {
				t.Errorf("%s is %s: %s", name, got.State, got.Reason)
			}
		}
		if live, limit, refused := m.Counts(); live != 4 || limit != 4 || refused != 3 {
			t.Errorf("%d of %d places are taken, %d tokens refused", live, limit, refused)
		}
		if got, want := w.files(), []string{"ended.json", fileOf("1"), fileOf("2"), fileOf("lost"), fileOf("new")}; len(got) != len(want) {
			t.Errorf("the state directory holds %q", got)
		}

		// After a restart, what has worked keeps its place, and what has not has its time again.
		w.close(m)
		m = w.manager(func(c *Config) { c.MaxTunnels = 4 })
		if n := m.Resume(); n != 4 {
			t.Fatalf("%d sessions resumed", n)
		}
		pass(evictAfter - time.Second)
		accept(t, m, "3", Refused)
		pass(time.Second)
		accept(t, m, "3", Accepted)
		accept(t, m, "4", Refused)
		for name, want := range map[string]State{"new": Ended, "1": Connected, "2": Connected, "3": Connected} {
			if got := find(t, m, name).State; got != want {
				t.Errorf("after the restart %s is %s", name, got)
			}
		}
	})
}
