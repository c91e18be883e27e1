package session

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
)

// A change of the network ends the waits of lost tunnels, but none that the service's answer asked for.
func TestRetryEndsTheWaitForALostNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		shorter bool
	}{
		"no network": {errNetwork, true},
		"throttled":  {&proxy.HandshakeError{Status: http.StatusTooManyRequests, RetryAfter: time.Hour}, false},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.script("TOKEN-a", slices.Repeat([]step{{err: c.err}}, 1000)...)
				m := w.manager()
				accept(t, m, "a", Accepted)
				pass(30 * time.Minute) // the waits have grown
				before := len(w.attempts("TOKEN-a"))
				m.Retry()
				pass(time.Millisecond)
				if tried := len(w.attempts("TOKEN-a")) > before; tried != c.shorter {
					t.Errorf("connected at once: %v, want %v", tried, c.shorter)
				}
			})
		})
	}
}
