package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
)

// TestTotalsCountWhatStatusHasForgotten: more sessions end than Status shows, and what they came to stays counted. Names of
// the far side that are no service are not: there is no end of them.
func TestTotalsCountWhatStatusHasForgotten(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.counts = proxy.Stats{Services: []proxy.ServiceStats{
			{Service: "SSH", Total: 2, BytesIn: 10, BytesOut: 20}, {Service: "made-up", Total: 1, BytesIn: 1},
		}}
		const sessions = maxRecent + 3
		m := w.manager()
		for i := range sessions {
			name := fmt.Sprint("n", i)
			w.script("TOKEN-"+name, step{err: refusal(400, "no")})
			accept(t, m, name, Accepted)
			pass(time.Second)
			want := Totals{Attempts: uint64(i + 1), Services: map[string]ServiceTotals{
				"SSH": {Connections: uint64(2 * (i + 1)), BytesIn: uint64(10 * (i + 1)), BytesOut: uint64(20 * (i + 1))},
			}}
			if diff := cmp.Diff(want, m.Totals()); diff != "" {
				t.Fatalf("after %d sessions (-want +got):\n%s", i+1, diff)
			}
		}
		if n := len(m.Status()); n != maxRecent {
			t.Errorf("Status shows %d", n)
		}
	})
}

// TestTotalsOutliveChangesOfTheServices: what a service has come to stays counted while it is disabled, even if sessions
// end meanwhile that Status then forgets, and is there again after it was removed.
func TestTotalsOutliveChangesOfTheServices(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.counts = proxy.Stats{Services: []proxy.ServiceStats{{Service: "SSH", Total: 2, BytesIn: 10, BytesOut: 20}}}
		m := w.manager()
		ended := 0
		end := func(sessions int) {
			for range sessions {
				name := fmt.Sprint("n", ended)
				w.script("TOKEN-"+name, step{err: refusal(400, "no")})
				accept(t, m, name, Accepted)
				pass(time.Second)
				ended++
			}
		}
		check := func(when string) {
			t.Helper()
			n := uint64(ended)
			want := ServiceTotals{Connections: 2 * n, BytesIn: 10 * n, BytesOut: 20 * n}
			if got := m.Totals().Services["SSH"]; got != want {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		end(1)
		check("enabled")
		for _, change := range []struct {
			name string
			list []services.Service
		}{
			{"disabled", []services.Service{{Name: "SSH", Disabled: true}}},
			{"enabled again", []services.Service{{Name: "SSH"}}},
			{"removed", nil},
			{"named again", []services.Service{{Name: "SSH"}}},
		} {
			m.cfg.Services.Replace(change.list)
			check(change.name)
			end(maxRecent + 1)
			check(change.name + ", after more sessions")
		}
	})
}
