package session

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/retry"
	"github.com/culvert-iot/culvert/proxy"
)

// end is one end of a connection or handshake and what must follow it.
type end struct {
	after  time.Duration // since the last decision's delay
	err    error
	stood  time.Duration
	waits  bool          // applications wait for the next connection
	delay  time.Duration // with every draw at 0.5
	ends   bool
	reason string // with the hint
}

func TestWhatFollowsAnEnd(t *testing.T) {
	late := func(status int, after time.Duration) error {
		return &proxy.HandshakeError{Status: status, RetryAfter: after}
	}
	const rotate = "; rotate the tunnel's access tokens to restore it, or open a new tunnel"
	const refusedReason = "the service refused the token" + rotate
	const keeps = "the service keeps refusing tokens that have worked" + rotate
	tests := []struct {
		name     string
		worked   bool
		attempts []end
	}{
		{"400 on the first handshake is final", false, []end{{err: refusal(400, "no"), ends: true, reason: refusedReason}}},
		{"403 without a word is final too", false, []end{{err: refusal(403, ""), ends: true, reason: refusedReason}}},
		{"499 belongs to 4xx", false, []end{{err: refusal(499, ""), ends: true, reason: refusedReason}}},
		{"a first 4xx after network errors is still the first answer", false, []end{
			{err: errNetwork, delay: 375 * time.Millisecond}, {err: refusal(400, "no"), ends: true, reason: refusedReason},
		}},
		{"429 is retried", false, []end{{err: refusal(429, "slow down"), delay: 375 * time.Millisecond}, {err: refusal(429, ""), delay: 625 * time.Millisecond}}},
		{"429 with Retry-After waits that long and a little more", false, []end{{err: late(429, 7*time.Second), delay: 7*time.Second + 250*time.Millisecond}}},
		{"503 with Retry-After", false, []end{{err: late(503, 90*time.Second), delay: 90*time.Second + 250*time.Millisecond}}},
		{"408 is about the moment", false, []end{{err: refusal(408, ""), delay: 375 * time.Millisecond}}},
		{"an inspecting proxy's page is about the path", false, []end{{err: &proxy.HandshakeError{Status: 403, Body: "<html> access revoked"}, delay: 375 * time.Millisecond}}},
		{"the same page from the service itself is final", false, []end{{err: refusal(403, "<html> access revoked"), ends: true, reason: refusedReason}}},
		{"500 is retried", false, []end{{err: refusal(500, "used revoked expired closed"), delay: 375 * time.Millisecond}}},
		{"302 is retried", false, []end{{err: refusal(302, ""), delay: 375 * time.Millisecond}}},
		{"101 that is no upgrade is retried", false, []end{{err: refusal(101, ""), delay: 375 * time.Millisecond}}},
		{"a close frame is retried, whatever it says", true, []end{{err: &proxy.CloseError{Code: 1012, Reason: "Token is revoked"}, stood: time.Hour, delay: 375 * time.Millisecond}}},
		{"a TLS error is retried", false, []end{{err: errors.New("x509: certificate signed by unknown authority"), delay: 375 * time.Millisecond}}},
		{"delays double up to a minute", false, []end{
			{err: errNetwork, delay: 375 * time.Millisecond},
			{err: errNetwork, delay: 625 * time.Millisecond},
			{err: errNetwork, delay: 1125 * time.Millisecond},
			{err: errNetwork, delay: 2125 * time.Millisecond},
			{err: errNetwork, delay: 4125 * time.Millisecond},
			{err: errNetwork, delay: 8125 * time.Millisecond},
			{err: errNetwork, delay: 16125 * time.Millisecond},
			{err: errNetwork, delay: 30125 * time.Millisecond},
			{err: errNetwork, delay: 30125 * time.Millisecond},
		}},
		{"a connection of 29 s does not start the delays over", true, []end{
			{err: errNetwork, delay: 375 * time.Millisecond}, {err: errNetwork, stood: 29 * time.Second, delay: 625 * time.Millisecond},
		}},
		{"a connection of 30 s does", true, []end{
			{err: errNetwork, delay: 375 * time.Millisecond}, {err: errNetwork, stood: 30 * time.Second, delay: 375 * time.Millisecond},
		}},
		{"it comes sooner while applications wait, and a second is enough then", true, []end{
			{err: errNetwork, stood: 2 * time.Second, waits: true, delay: 187500 * time.Microsecond},
			{err: errNetwork, stood: 2 * time.Second, waits: true, delay: 187500 * time.Microsecond},
			{err: errNetwork, waits: true, delay: 625 * time.Millisecond},
			{err: errNetwork, stood: time.Second, waits: true, delay: 187500 * time.Microsecond},
			{err: errNetwork, stood: 2 * time.Second, delay: 625 * time.Millisecond},
		}},
		{"a service that accepts and drops sees them grow even then", true, []end{
			{err: errNetwork, stood: 900 * time.Millisecond, waits: true, delay: 375 * time.Millisecond},
			{err: errNetwork, stood: 900 * time.Millisecond, waits: true, delay: 625 * time.Millisecond},
			{err: errNetwork, stood: 900 * time.Millisecond, waits: true, delay: 1125 * time.Millisecond},
		}},
		{"a pair that has worked gets three slow tries", true, []end{
			{err: refusal(400, "busy"), delay: 7500 * time.Millisecond},
			{err: refusal(400, "busy"), delay: 25 * time.Second},
			{err: refusal(400, "busy"), delay: 45 * time.Second},
			{err: refusal(400, "busy"), ends: true, reason: keeps},
		}},
		{"other failures between them do not count as tries", true, []end{
			{err: refusal(400, ""), delay: 7500 * time.Millisecond},
			{err: errNetwork, delay: 375 * time.Millisecond},
			{err: refusal(400, ""), delay: 25 * time.Second},
			{err: refusal(503, ""), delay: 625 * time.Millisecond},
			{err: refusal(400, ""), delay: 45 * time.Second},
			{err: refusal(400, ""), ends: true, reason: keeps},
		}},
		{"after two minutes there are no more tries", true, []end{
			{err: refusal(400, ""), delay: 7500 * time.Millisecond}, {after: 110 * time.Second, err: refusal(400, ""), ends: true, reason: keeps},
		}},
		{"a Retry-After that leads out of the two minutes ends it", true, []end{{err: late(403, 3*time.Minute), ends: true, reason: keeps}}},
		{"a Retry-After within them is respected", true, []end{{err: late(403, 50*time.Second), delay: 50 * time.Second}}},
		{"a connection gives the tries back", true, []end{
			{err: refusal(400, ""), delay: 7500 * time.Millisecond},
			{err: refusal(400, ""), delay: 25 * time.Second},
			{err: errNetwork, stood: time.Minute, delay: 375 * time.Millisecond},
			{err: refusal(400, ""), delay: 7500 * time.Millisecond},
		}},
		{"a final word ends a pair that has worked at once", true, []end{
			{err: refusal(400, "Invalid access token: The access token was previously used and can not be used again."), ends: true, reason: "the service says used" + rotate},
		}},
		{"a final word in the header too, in any case", true, []end{
			{err: &proxy.HandshakeError{Status: 410, StatusReason: "Tunnel is CLOSED"}, ends: true, reason: "the service says closed: it cannot be reopened; open a new tunnel"},
		}},
		{"revoked is final", true, []end{{err: refusal(403, "Token revoked"), ends: true, reason: "the service says revoked" + rotate}}},
		{"expired is final", true, []end{{err: refusal(403, "tunnel:expired"), ends: true, reason: "the service says expired" + rotate}}},
		{"part of a word is no final word", true, []end{{err: refusal(400, "unused, disclosed, refused"), delay: 7500 * time.Millisecond}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			half := func() float64 { return 0.5 }
			p := policy{retry.Policy{Worked: tt.worked, Backoff: backoff.Backoff{Random: half}}}
			now := time.Unix(0, 0)
			for i, a := range tt.attempts {
				if a.stood > 0 {
					p.Opened()
				}
				now = now.Add(a.after)
				p.Awaited = a.waits
				got := p.next(a.err, a.stood, now)
				reason := ""
				if got.end != nil {
					reason = hint.Line(got.end)
				}
				if (got.end != nil) != a.ends || reason != a.reason || got.delay != a.delay {
					t.Fatalf("attempt %d: ends with %q, delay %v; want %q, %v", i, reason, got.delay, a.reason, a.delay)
				}
				now = now.Add(got.delay)
			}
		})
	}
}

func TestReconnectsSpreadAndGrow(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		const attempts = 200
		for range attempts {
			w.steps["TOKEN-a"] = append(w.steps["TOKEN-a"], step{err: errNetwork})
		}
		m := w.manager()
		accept(t, m, "a", Accepted)
		pass(attempts * time.Minute)
		dials := w.attempts("TOKEN-a")
		if len(dials) != attempts+1 {
			t.Fatalf("%d attempts, want %d", len(dials), attempts+1)
		}
		var low, high int
		different := make(map[time.Duration]bool)
		bound := 500 * time.Millisecond
		for i := 1; i < len(dials); i++ {
			d := dials[i].at.Sub(dials[i-1].at)
			if d < 250*time.Millisecond || d > bound {
				t.Errorf("delay %d is %v, want at most %v", i, d, bound)
			}
			if bound == time.Minute {
				switch {
				case d < 20*time.Second:
					low++
				case d > 40*time.Second:
					high++
				}
			}
			different[d] = true
			bound = min(2*bound, time.Minute)
		}
		if low < 30 || high < 30 || len(different) < 190 {
			t.Errorf("%d delays below 20 s, %d above 40 s, %d different: no full jitter", low, high, len(different))
		}
		if n := len(w.logs.lines("tunnel not connected")); n != attempts {
			t.Errorf("%d lines, want %d at all levels", n, attempts)
		}
		info := 0
		for _, line := range w.logs.lines("tunnel not connected") {
			if slices.Contains([]string{"1", "2", "4", "8", "16", "32", "64", "128"}, field(line, "attempt")) != (field(line, "level") == "INFO") {
				t.Errorf("wrong level: %s", line)
			}
			if field(line, "level") == "INFO" {
				info++
			}
		}
		if info != 8 {
			t.Errorf("%d lines at info for an outage of an hour and a half, want 8", info)
		}
	})
}

// field returns the value of an attribute of a text log line.
func field(line, name string) string {
	var v string
	for i := range line {
		if (i == 0 || line[i-1] == ' ') && len(line) > i+len(name) && line[i:i+len(name)+1] == name+"=" {
			rest := line[i+len(name)+1:]
			if rest != "" && rest[0] == '"' {
				_, _ = fmt.Sscanf(rest, "%q", &v)
			} else {
				_, _ = fmt.Sscan(rest, &v)
			}
			return v
		}
	}
	return ""
}
