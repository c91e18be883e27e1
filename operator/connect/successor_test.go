package connect

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A tunnel of 12 hours is replaced 3 minutes before it expires, while there are connections, and again when the next one
// expires. A try that fails is made again.
func TestConnectionsMoveOnBeforeTheTunnelExpires(t *testing.T) {
	for name, tt := range map[string]struct {
		life    time.Duration
		busy    time.Duration // when connections begin
		fail    int           // how many tries fail
		want    []time.Duration
		forever bool // its expiry is unknown
	}{
		"12 hours":                        {life: 12 * time.Hour, want: []time.Duration{12*time.Hour - successorLead, 24*time.Hour - 2*successorLead}},
		"4 minutes":                       {life: 4 * time.Minute, want: []time.Duration{3 * time.Minute, 6 * time.Minute, 9 * time.Minute}},
		"two tries fail":                  {life: time.Hour, fail: 2, want: []time.Duration{57 * time.Minute, 57*time.Minute + successorRetry, 57*time.Minute + 2*successorRetry}},
		"no connections until the end":    {life: time.Hour, busy: 2 * time.Hour},
		"connections in its last minutes": {life: time.Hour, busy: 59 * time.Minute, want: []time.Duration{59 * time.Minute}},
		"it never expires":                {forever: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				at := began.Add(tt.life)
				if tt.forever {
					at = time.Time{}
				}
				var moves []time.Duration
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan struct{})
				go func() {
					defer close(done)
					watchExpiry(ctx, func() time.Time { return at }, leadOf,
						func() bool { return time.Since(began) >= tt.busy },
						func(context.Context) error {
							moves = append(moves, time.Since(began))
							if len(moves) <= tt.fail {
								return errors.New("no other tunnel")
							}
							at = time.Now().Add(tt.life)
							return nil
						})
				}()
				last := 70 * time.Minute
				if n := len(tt.want); n > 0 {
					last = tt.want[n-1] + time.Second
				}
				time.Sleep(last)
				cancel()
				<-done
				if !slices.Equal(moves, tt.want) {
					t.Errorf("moved after %v, want %v", moves, tt.want)
				}
			})
		})
	}
}

// SetSuccessorLead sets how long before the expiry of the first tunnel connections move. From the others they move as ever.
func SetSuccessorLead(c *Config, lead time.Duration) {
	first := true
	c.lead = func(left time.Duration) time.Duration {
		if !first {
			return leadOf(left)
		}
		first = false
		return lead
	}
}

// HoldBackPublishing keeps a tunnel's next link from its users, and from [Config].Progress, until the result is called.
func HoldBackPublishing(t *Tunnel) (publish func()) {
	t.session.mu.Lock()
	return t.session.mu.Unlock
}

// WaitForLooks waits for what is said of the connections that have ended.
func WaitForLooks(t *Tunnel) { t.silence.looking.Wait() }

// KnowsItsLink reports whether a tunnel's session knows when the service let its present link in.
func KnowsItsLink(t *Tunnel) bool {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	c := t.session.current.Load()
	return c.recorded > 0 && c.recorded == c.admissions()
}
