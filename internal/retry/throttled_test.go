package retry

import (
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
)

// A 429 means that the service serves other clients. A client that waits a minute at the end of the rush leaves it
// idle.
func TestThrottledDelaysGrowWithTheRush(t *testing.T) {
	almost := func() float64 { return 1 - 1e-12 }
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	throttled := Refusal{Status: 429}
	tests := []struct {
		name  string
		after time.Duration // since the first 429
		want  time.Duration
	}{
		{"at first", 0, 15 * time.Second},
		{"after two minutes", 2 * time.Minute, 15 * time.Second},
		{"after five minutes, a tenth of them", 5 * time.Minute, 30 * time.Second},
		{"after half an hour, more than after any other failure", 30 * time.Minute, 3 * time.Minute},
		{"at last five minutes", 2 * time.Hour, 5 * time.Minute},
	}
	for _, tt := range tests {
		p := Policy{Worked: true, Backoff: backoff.Backoff{Random: almost}}
		for range 12 {
			p.Failed(0) // the outage
		}
		p.Refused(throttled, start)
		if got := p.Refused(throttled, start.Add(tt.after)).Delay.Round(time.Millisecond); got != tt.want {
			t.Errorf("%s: at most %v, want %v", tt.name, got, tt.want)
		}
		if got := p.Failed(0).Round(time.Millisecond); got != time.Minute {
			t.Errorf("%s: an outage again waits at most %v", tt.name, got)
		}
		if got := p.Refused(throttled, start.Add(2*time.Hour)).Delay.Round(time.Millisecond); got != 15*time.Second {
			t.Errorf("%s: a rush later begins with at most %v", tt.name, got)
		}
	}

	p := Policy{Backoff: backoff.Backoff{Random: almost}}
	if got := p.Refused(throttled, start).Delay.Round(time.Millisecond); got != 500*time.Millisecond {
		t.Errorf("a single 429 waits at most %v, as any first failure", got)
	}
	p = Policy{Backoff: backoff.Backoff{Random: almost, Max: time.Second}}
	for range 5 {
		p.Failed(0)
	}
	if got := p.Refused(throttled, start).Delay.Round(time.Millisecond); got != time.Second {
		t.Errorf("a bound of one second became %v", got)
	}
	if got := p.Refused(Refusal{Status: 429, RetryAfter: 5 * time.Minute}, start).Delay; got < 5*time.Minute {
		t.Errorf("Retry-After of 5 min became %v", got)
	}
}
