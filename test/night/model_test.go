package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/retry"
)

// backOffBound is the product's longest wait between two attempts. A service without a limit sees the last client after
// that time at most.
const backOffBound = time.Minute

// TestAFleetComesBackAtTheServicesPace: with the product's own back-off, sessions that get 429 are back within 1.1
// times the time that a service which is never idle needs, and without a second wave.
func TestAFleetComesBackAtTheServicesPace(t *testing.T) {
	for clients, nights := range map[int]int{1000: 10, 3000: 5, 10_000: 1, 50_000: 1} {
		var sum, ideal time.Duration
		for seed := range nights {
			n := night{clients: clients, limit: dataLimit, outage: 10 * time.Minute, seed: uint64(seed)}
			r := n.run()
			t.Logf("%d sessions: back after %v (at best %v), %.1f attempts each, %d at most", clients, r.all, n.ideal(), float64(r.attempts)/float64(clients), r.most)
			noSecondWave(t, n, r)
			sum, ideal = sum+r.all, ideal+n.ideal()
		}
		if sum > ideal*11/10 {
			t.Errorf("%d sessions: the last is back after %v on average, at best %v", clients, sum/time.Duration(nights), ideal/time.Duration(nights))
		}
	}
}

// TestClientsThatAreDroppedComeBack: MQTT clients, and sessions whose connections the data endpoint drops, do not learn
// of a limit. The last one is late by at most one bound of the back-off.
func TestClientsThatAreDroppedComeBack(t *testing.T) {
	refusedWithoutWord := func(p *retry.Policy, _ time.Time) time.Duration { return p.Failed(0) }
	for name, n := range map[string]night{
		"sessions":     {clients: 1000, limit: dataLimit, refused: refusedWithoutWord},
		"MQTT clients": {clients: 20_000, limit: connectLimit, refused: dropped},
	} {
		n.outage = 10 * time.Minute
		r := n.run()
		if r.all > n.ideal()+backOffBound {
			t.Errorf("%s: the last is back after %v, at best %v", name, r.all, n.ideal())
		}
		noSecondWave(t, n, r)
	}
}

// noSecondWave: after the first minute, each minute has fewer attempts than the one before, give or take a tenth, no
// client asks more often than every 8 s on average, and the service is never idle while clients wait.
func noSecondWave(t *testing.T, n night, r result) {
	t.Helper()
	before, last := 0, 0
	connected := 0
	for i, s := range r.seconds {
		before += s.attempts
		connected += s.connected
		if i%60 != 59 {
			continue
		}
		if i > 120 && float64(before) > 1.1*float64(last)+float64(n.limit) {
			t.Errorf("minute %d has %d attempts, the one before it %d", i/60, before, last)
		}
		if left := n.clients - connected; i > 60 && left > 40*n.limit && s.connected == 0 {
			t.Errorf("no client connected in second %d, and %d wait", i, left)
		}
		last, before = before, 0
	}
	// The rush of any fleet lasts as long as its size demands, and clients ask less often the longer it lasts.
	if each := r.attempts / n.clients; each > 80 {
		t.Errorf("%d attempts of each client on average in %v", each, r.all)
	}
	if most := int(r.all/(8*time.Second)) + 5; r.attempts/n.clients > most {
		t.Errorf("%d attempts of each client on average in %v", r.attempts/n.clients, r.all)
	}
}

// TestWiderWaitsAfter429AreTooLate: with twice the least wait, which halves a large fleet's storm, a fleet of 1,000 is not
// back in time. So the least wait is what it is.
func TestWiderWaitsAfter429AreTooLate(t *testing.T) {
	var sum, ideal time.Duration
	for seed := range 10 {
		random := rand.New(rand.NewPCG(uint64(seed), 2)) // every run must be the same
		n := night{clients: 1000, limit: dataLimit, outage: 10 * time.Minute, seed: uint64(seed)}
		n.refused = func(*retry.Policy, time.Time) time.Duration { // the rush is too short for a tenth of it to count
			return time.Duration(random.Float64() * float64(30*time.Second))
		}
		sum, ideal = sum+n.run().all, ideal+n.ideal()
	}
	if sum <= ideal*11/10 {
		t.Errorf("the last is back after %v on average, at best %v: internal/retry may wait longer", sum/10, ideal/10)
	}
}

func TestTheModelCanFail(t *testing.T) {
	n := night{clients: 1000, limit: dataLimit, outage: 10 * time.Minute}
	n.refused = func(*retry.Policy, time.Time) time.Duration { return 2 * time.Minute }
	if r := n.run(); r.all <= n.ideal()*11/10 {
		t.Errorf("waits of two minutes take %v", r.all)
	}
	n.refused = throttled
	if r := n.run(); r.seconds[0].connected > 2*dataLimit {
		t.Errorf("%d connected in the first second", r.seconds[0].connected)
	}
}
