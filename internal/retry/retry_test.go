package retry

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/backoff"
)

func TestWhatIsAboutTheMomentOrThePathDoesNotEndANewToken(t *testing.T) {
	const page = "<!DOCTYPE html> <html><head><title>Blocked</title></head> Your session has expired, access was revoked"
	tests := []struct {
		name      string
		refusal   Refusal
		temporary bool
	}{
		{"request timeout", Refusal{Status: 408}, true},
		{"misdirected request", Refusal{Status: 421, Body: "closed"}, true},
		{"too early", Refusal{Status: 425}, true},
		{"too many requests", Refusal{Status: 429}, true},
		{"a proxy wants a password", Refusal{Status: 407}, true},
		{"a proxy removed the upgrade", Refusal{Status: 426}, true},
		{"a filter", Refusal{Status: 451}, true},
		{"an inspecting proxy's page", Refusal{Status: 403, Body: page}, true},
		{"its page in other letters, behind a byte order mark", Refusal{Status: 403, Body: "\ufeff\r\n <HTML><BODY>"}, true},
		{"a redirect", Refusal{Status: 302}, true},
		{"a server error", Refusal{Status: 503}, true},

		{"the service's plain text", Refusal{Status: 403, Body: "Invalid access token"}, false},
		{"no text at all", Refusal{Status: 403}, false},
		{"a page that the service signs", Refusal{Status: 403, Body: page, ChannelID: "c"}, false},
		{"a page with the service's reason", Refusal{Status: 403, Body: page, StatusReason: "revoked"}, false},
		{"bad request", Refusal{Status: 400, Body: "no"}, false},
		{"the end of the range", Refusal{Status: 499}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.refusal.Temporary(); got != tt.temporary {
				t.Errorf("Temporary() = %v", got)
			}
			half := func() float64 { return 0.5 }
			p := Policy{Backoff: backoff.Backoff{Random: half}}
			want := Decision{End: Refused}
			if tt.temporary {
				want = Decision{Delay: 375 * time.Millisecond}
			}
			if diff := cmp.Diff(want, p.Refused(tt.refusal, time.Unix(0, 0))); diff != "" {
				t.Errorf("a new token (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARefusalAfterTheServiceClosedTheWebsocket(t *testing.T) {
	tests := []struct {
		name    string
		closed  bool
		refusal Refusal
		want    Decision
	}{
		{"says nothing: the tunnel is over", true, Refusal{Status: 400}, Decision{End: TunnelOver}},
		{"says something else: no slow tries", true, Refusal{Status: 400, Body: "no"}, Decision{End: StillRefused}},
		{"says expired", true, Refusal{Status: 400, Body: "tunnel:expired"}, Decision{End: TunnelOver, Word: "expired"}},
		{"says used", true, Refusal{Status: 400, Body: "was previously used"}, Decision{End: Revoked, Word: "used"}},
		{"a lost link gets a slow try", false, Refusal{Status: 400}, Decision{Delay: 7500 * time.Millisecond}},
		{"Retry-After counts", false, Refusal{Status: 400, RetryAfter: time.Minute}, Decision{Delay: time.Minute}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Policy{Worked: true, ClosedByService: tt.closed, Backoff: backoff.Backoff{Random: func() float64 { return 0.5 }}}
			if diff := cmp.Diff(tt.want, p.Refused(tt.refusal, time.Unix(0, 0))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusalTriesSpreadAndStayWithinTwoMinutes(t *testing.T) {
	var seen []time.Duration
	for i := range 200 {
		p := Policy{Worked: true}
		now := time.Unix(0, 0)
		tries := 0
		for {
			d := p.Refused(Refusal{Status: 400}, now)
			if d.End != None {
				break
			}
			now = now.Add(d.Delay)
			seen = append(seen, d.Delay)
			tries++
		}
		spent := now.Sub(time.Unix(0, 0))
		if tries != 3 || spent <= time.Minute || spent > 2*time.Minute {
			t.Fatalf("run %d: %d tries in %v, want 3 in more than the service's idle limit of a minute and at most two", i, tries, spent)
		}
	}
	slices.Sort(seen)
	if n := len(slices.Compact(seen)); n < 550 {
		t.Errorf("only %d different delays of 600: no jitter", n)
	}
}
