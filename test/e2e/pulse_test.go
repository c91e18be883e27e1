package e2e

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// pulse exchanges a byte over a connection to an echo server again and again: what a person at a shell would feel
// while something else goes wrong.
type pulse struct {
	ends    chan struct{}
	done    sync.WaitGroup
	longest time.Duration
	err     error
}

// startPulse begins; stop ends it.
func startPulse(t testing.TB, c net.Conn) *pulse {
	t.Helper()
	p := &pulse{ends: make(chan struct{})}
	p.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			start := time.Now()
			if p.err = exchangeByteWithin(c, 30*time.Second); p.err != nil {
				return
			}
			p.longest = max(p.longest, time.Since(start))
			select {
			case <-tick.C:
			case <-p.ends:
				return
			}
		}
	})
	t.Cleanup(func() { _, _ = p.stop() })
	return p
}

// stop returns the longest wait for a byte's return, and why the connection ended if it did.
func (p *pulse) stop() (longest time.Duration, err error) {
	select {
	case <-p.ends:
	default:
		close(p.ends)
	}
	p.done.Wait()
	return p.longest, p.err
}

// lived fails the test if the connection ended, and logs how long it had to wait.
func (p *pulse) lived(t testing.TB, what string) {
	t.Helper()
	longest, err := p.stop()
	if err != nil {
		t.Errorf("the live connection beside %s: %v", what, err)
		return
	}
	t.Logf("beside %s a live connection waited %v at most", what, longest.Round(time.Millisecond))
}

// destinationSide is the device's websocket, to the relay's faults.
var destinationSide = relay.Target{Side: tunnels.Destination}
