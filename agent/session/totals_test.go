package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/proxy"
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
