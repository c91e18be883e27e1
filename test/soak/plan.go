package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/test/harness"
)

// tunnelPlan is what a tunnel is for, all through a run.
type tunnelPlan struct {
	form     proxy.Form
	half     bool     // its source speaks records: connections are half closed and resumed
	services []string // of the tunnel; the last one is probed
	workers  int      // who open connections, one after the other
	idlers   int      // who open connections that are silent most of the time
}

// Services and their targets. Each tunnel names three at most, the AWS default.
const (
	serviceA, serviceB, serviceC = "A", "B", "C"
	serviceUnix                  = "UNIX"
	serviceProbe                 = "PROBE" // it never goes away
)

var tunnelPlans = []tunnelPlan{
	{form: proxy.V3, half: true, services: []string{serviceB, serviceUnix, serviceProbe}, workers: 4},
	{form: proxy.V2, services: []string{serviceA, serviceUnix, serviceProbe}, workers: 2},
	{form: proxy.V1, services: []string{serviceC}, workers: 1},
	{form: proxy.V3, services: []string{serviceC, serviceProbe}, workers: 3},
	{form: proxy.V3, half: true, services: []string{serviceA, serviceB, serviceProbe}, workers: 2, idlers: 40},
}

// The numbers of the streams of random numbers that come of one seed.
const (
	randomFaults = iota
	randomNetwork
	randomWorkers // and what is above: one for each
)

func random(seed uint64, number int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, harness.Mix(uint64(number)))) //nolint:gosec // it is replayed, it protects nothing
}

// traffic is what one worker does: the same for the same seed, in the same order.
type traffic struct {
	r    *rand.Rand
	plan tunnelPlan
	idle bool
	next uint64 // id of its next connection
}

func newTraffic(seed uint64, tunnel, worker int, idle bool) *traffic {
	number := randomWorkers + tunnel*1000 + worker
	return &traffic{r: random(seed, number), plan: tunnelPlans[tunnel], idle: idle, next: harness.Mix(seed+uint64(number)) &^ 0xffffff} //nolint:gosec // small
}

// operation is one connection, and the wait before it.
type operation struct {
	wait    time.Duration
	service string
	talk    talk
	tcp     bool // the client's socket: TCP or a Unix one
}

func (t *traffic) operation() operation {
	r := t.r
	services := t.plan.services
	if len(services) > 1 {
		services = services[:len(services)-1]
	}
	o := operation{
		wait: time.Duration(r.IntN(250)) * time.Millisecond, service: services[r.IntN(len(services))], tcp: r.IntN(2) == 0,
		talk: talk{id: t.next, kind: drawKind(r), up: size(r), down: size(r)},
	}
	t.next++
	for t.idle != (o.talk.kind == idle) || o.talk.kind == halfClose && !t.plan.half {
		o.talk.kind = drawKind(r)
	}
	o.talk.cut = r.Int64N(o.talk.up + 1)
	switch k := &o.talk; k.kind {
	case idle:
		k.pause = time.Duration(1+r.IntN(15)) * time.Second
		k.up, k.down = k.up%4096, k.down%4096
	case slowClient, slowTarget:
		k.up, k.down = min(k.up, 1<<20), min(k.down, 1<<20)
	case stall:
		// A second more or less than a target may take nothing, or hardly at all.
		k.pause = []time.Duration{100 * time.Millisecond, 3 * time.Second, 8 * time.Second}[r.IntN(3)]
		if !t.plan.form.Connection {
			k.pause = min(k.pause, time.Second) // nothing else could be done meanwhile
		}
	default:
	}
	return o
}

func drawKind(r *rand.Rand) kind { return kind(r.IntN(int(kinds))) } //nolint:gosec // few kinds

// size draws how much is sent: mostly little, now and then megabytes.
func size(r *rand.Rand) int64 {
	switch r.IntN(10) {
	case 0:
		return 0
	case 1, 2, 3, 4:
		return r.Int64N(2000)
	case 5, 6, 7:
		return r.Int64N(200_000)
	default:
		return r.Int64N(4 << 20)
	}
}

// event is one fault.
type event struct {
	at     time.Duration // since the start of the run
	fault  string        // its name in faults
	tunnel int           // of those that are about one
	lasts  time.Duration // of those that last
	draw   [4]int        // whatever else is to be chosen
}

func (e event) String() string {
	return fmt.Sprintf("%v tunnel %d %v", e.fault, e.tunnel, e.lasts)
}

// schedule draws the faults of a run. Those whose effect lasts longer come only where there is time for it.
func schedule(seed uint64, length time.Duration) (list []event) {
	r := random(seed, randomFaults)
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	hits := make([]int, len(tunnelPlans))
	for at := 2 * time.Second; ; {
		at += time.Duration(200+r.IntN(1300)) * time.Millisecond
		if at >= length-time.Second {
			return list
		}
		e := event{at: at, tunnel: r.IntN(len(tunnelPlans))}
		for i := range e.draw {
			e.draw[i] = r.IntN(1 << 20)
		}
		f := pickFault(r.IntN(total))
		share := r.Float64()
		if at+f.needs > length {
			continue
		}
		// A session that lost many connections in a row waits longer and longer, by design. A new token starts
		// over: so that a tunnel is up most of the time, that comes after some losses.
		if f.hits > 0 && !f.all {
			if hits[e.tunnel]+f.hits > maxHits {
				f, e.draw[0] = faultNamed("rotate"), 0 // of the device's side
			} else {
				hits[e.tunnel] += f.hits
			}
		}
		if f.all {
			for i := range hits {
				hits[i] += f.hits
			}
		}
		if f.renews && e.draw[0]%3 != 2 { // 2: of the source's side alone
			hits[e.tunnel] = 0
		}
		e.fault = f.name
		e.lasts = f.least + time.Duration(share*float64(f.most-f.least)).Round(time.Millisecond)
		list = append(list, e)
	}
}

// maxHits is how often in a row a session's connection is broken.
const maxHits = 4

func pickFault(n int) fault {
	for _, f := range faults {
		if n -= f.weight; n < 0 {
			return f
		}
	}
	return faults[0]
}

func faultNamed(name string) fault {
	for _, f := range faults {
		if f.name == name {
			return f
		}
	}
	return fault{}
}
