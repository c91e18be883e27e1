package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/settings"
)

// The service ends a tunnel's websocket when the token of its rotation connects. With one place in all, that
// token has to connect above the limit.
func TestARotationAtTheLimitTakesTheTunnelOver(t *testing.T) {
	for name, says := range map[string]string{"says revoked": "access token was revoked", "says nothing": ""} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.script("TOKEN-old", append([]step{{stands: time.Hour + 200*time.Millisecond, err: errClosed}},
					slices.Repeat([]step{{err: refusal(400, says)}}, 5)...)...)
				m := w.manager(func(c *Config) { c.MaxTunnels = 1 })
				accept(t, m, "old", Accepted)
				pass(time.Hour)
				accept(t, m, "new", Accepted)
				pass(30 * time.Second)
				if got := find(t, m, "new"); got.State != Connected || got.Connects != 1 {
					t.Errorf("the new one is %s: %s", got.State, got.Reason)
				}
				if got := find(t, m, "old").State; got != Ended {
					t.Errorf("the old one is %s", got)
				}
				if live, _, refused := m.Counts(); live != 1 || refused != 0 {
					t.Errorf("%d live, %d refused", live, refused)
				}
			})
		})
	}
}

// All tunnels of a device are rotated by one script.
func TestAllTunnelsAreRotatedAtTheLimit(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		const tunnels = settings.DefaultMaxTunnels
		m := w.manager()
		for i := range tunnels {
			w.script(fmt.Sprint("TOKEN-old", i), step{stands: time.Hour + time.Duration(i+1)*100*time.Millisecond, err: errClosed}, step{err: refusal(400, "revoked")})
			m.Accept(token(fmt.Sprint("old", i)))
		}
		pass(time.Hour)
		for i := range tunnels {
			m.Accept(token(fmt.Sprint("new", i)))
		}
		pass(time.Minute)
		for i := range tunnels {
			if got := find(t, m, fmt.Sprint("new", i)); got.State != Connected || got.Connects != 1 {
				t.Errorf("%d is %s: %s", i, got.State, got.Reason)
			}
		}
	})
}

// A device that was off for a while gets the token of each try at once, and only the last one is good.
func TestTheNewestOfManyTokensGetsThrough(t *testing.T) {
	for name, stale := range map[string]step{
		"the service refuses the others": {err: refusal(400, "revoked")},
		"the others cannot connect":      {err: errNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				m := w.manager(func(c *Config) { c.MaxTunnels = 2 })
				for i := range 50 {
					w.script(fmt.Sprint("TOKEN-stale", i), slices.Repeat([]step{stale}, 100)...)
					m.Accept(token(fmt.Sprint("stale", i)))
				}
				accept(t, m, "good", Accepted)
				pass(2 * evictAfter)
				if got := find(t, m, "good"); got.State != Connected {
					t.Errorf("the good one is %s: %s %s", got.State, got.Reason, got.LastError)
				}
				pass(time.Hour)
				if live, limit, _ := m.Counts(); live > limit {
					t.Errorf("%d of %d places are taken", live, limit)
				}
				if got := find(t, m, "good"); got.State != Connected || got.Attempts != 1 {
					t.Errorf("an hour later it is %s after %d attempts", got.State, got.Attempts)
				}
			})
		})
	}
}

// A tunnel that stands keeps its place from made-up tokens; one that is down makes room for a newer token.
func TestANewerTokenWinsOverWhatIsNotConnected(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		lost := append([]step{{stands: time.Hour, err: errNetwork}}, slices.Repeat([]step{{err: errNetwork}}, 200)...)
		w.script("TOKEN-lost", lost...)
		w.script("TOKEN-bogus", slices.Repeat([]step{{err: errNetwork}}, 200)...)
		m := w.manager(func(c *Config) { c.MaxTunnels = 3 })
		for _, name := range []string{"lost", "stands", "bogus"} {
			accept(t, m, name, Accepted)
			pass(time.Second)
		}
		pass(time.Hour)
		accept(t, m, "1", Accepted)
		pass(time.Second)
		if got := find(t, m, "bogus"); got.State != Ended || got.Reason != errEvicted.Error() {
			t.Errorf("what has never connected is %s: %s", got.State, got.Reason)
		}
		if got := find(t, m, "lost").State; got == Ended {
			t.Error("the tunnel that has stood went first")
		}
		pass(time.Minute)
		accept(t, m, "2", Accepted)
		pass(time.Second)
		for name, want := range map[string]State{"lost": Ended, "stands": Connected, "1": Connected, "2": Connected} {
			if got := find(t, m, name); got.State != want {
				t.Errorf("%s is %s: %s", name, got.State, got.Reason)
			}
		}
		// Nothing is down: a flood of made-up tokens changes nothing.
		for i := range 100 {
			w.script(fmt.Sprint("TOKEN-flood", i), slices.Repeat([]step{{err: errNetwork}}, 200)...)
			m.Accept(token(fmt.Sprint("flood", i)))
		}
		pass(time.Minute)
		for _, name := range []string{"stands", "1", "2"} {
			if got := find(t, m, name); got.State != Connected || got.Attempts != 1 {
				t.Errorf("%s is %s after %d attempts", name, got.State, got.Attempts)
			}
		}
		if live, limit, _ := m.Counts(); live != limit {
			t.Errorf("%d of %d live", live, limit)
		}
	})
}

func TestTheOnlyPlaceIsNamedInTheSingular(t *testing.T) {
	for live, want := range map[int]string{1: "1 tunnel is live, ", 2: "2 tunnels are live, "} {
		if got := (&noPlaceError{live}).Error(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want it to begin with %q", got, want)
		}
	}
}
