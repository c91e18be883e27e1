package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// fault is one thing that goes wrong.
type fault struct {
	name        string
	weight      int
	least, most time.Duration // how long it lasts
	needs       time.Duration // how long its effect may be felt
	hits        int           // connections that it costs a session
	all         bool          // it is felt by every tunnel
	renews      bool          // the tunnel has a new token afterwards
	fire        func(r *run, ctx context.Context, e event) (met bool)
}

const (
	ms = time.Millisecond
	s  = time.Second
)

var faults []fault

func init() { //nolint:gochecknoinits // the table's functions look into the table
	faults = []fault{
		// What costs connections, tunnel by tunnel.
		{name: "cut the device", weight: 6, hits: 1, fire: (*run).cutDevice},
		{name: "cut the source", weight: 6, fire: (*run).cutSource},
		{name: "close with a code", weight: 6, hits: 1, fire: (*run).closeWithCode},
		{name: "refuse the device", weight: 4, hits: 2, fire: (*run).refuse},
		{name: "refuse with 4xx", weight: 2, needs: 15 * s, hits: 1, fire: (*run).refuse4xx},
		{name: "lose the handshake's answer", weight: 4, hits: 2, fire: (*run).loseAnswer},
		{name: "slow handshake", weight: 4, least: 500 * ms, most: 4 * s, hits: 1, fire: (*run).slowHandshake},
		{name: "session reset", weight: 4, fire: (*run).sessionReset},
		{name: "half-open", weight: 1, needs: 120 * s, hits: 1, fire: (*run).strand},
		{name: "long black hole", weight: 1, least: 50 * s, most: 70 * s, needs: 150 * s, hits: 2, fire: (*run).longHole},
		// Tokens.
		{name: "rotate", weight: 6, least: 0, most: 2 * s, renews: true, fire: (*run).rotate},
		{name: "rotate, notification lost", weight: 3, least: 100 * ms, most: 3 * s, renews: true, fire: (*run).rotateLost},
		{name: "rotate twice", weight: 3, least: 0, most: 2 * s, renews: true, fire: (*run).rotateTwice},
		{name: "rotate while cut", weight: 3, least: 0, most: 2 * s, renews: true, fire: (*run).rotateWhileCut},
		{name: "close, open another", weight: 3, renews: true, fire: (*run).replaceTunnel},
		// What costs all tunnels their connections.
		{name: "drop all", weight: 2, hits: 1, all: true, fire: (*run).dropAll},
		{name: "kill the daemon", weight: 2, least: 0, most: 2 * s, needs: 5 * s, fire: (*run).kill},
		{name: "restart the daemon", weight: 1, least: 0, most: s, needs: 5 * s, fire: (*run).restart},
		// What must cost nothing.
		{name: "delay", weight: 5, least: s, most: 4 * s, fire: condition(func(e event) relay.Conditions {
			return relay.Conditions{Delay: time.Duration(10+e.draw[0]%290) * ms}
		})},
		{name: "rate limit", weight: 5, least: s, most: 5 * s, fire: condition(func(e event) relay.Conditions {
			return relay.Conditions{RateLimit: 100_000 + e.draw[0]%900_000, RateShared: e.draw[1]%2 == 0}
		})},
		{name: "short black hole", weight: 4, least: 500 * ms, most: 5 * s, fire: condition(func(event) relay.Conditions {
			return relay.Conditions{BlackHole: true}
		})},
		{name: "withheld pongs", weight: 3, least: 2 * s, most: 10 * s, fire: condition(func(event) relay.Conditions {
			return relay.Conditions{WithholdPongs: true}
		})},
		{name: "broker outage", weight: 2, least: 200 * ms, most: 4 * s, needs: 10 * s, fire: (*run).brokerOutage},
		{name: "broker frozen", weight: 2, least: 200 * ms, most: 4 * s, fire: (*run).brokerFrozen},
		{name: "broker kicks", weight: 2, fire: (*run).kick},
		{name: "unasked pings", weight: 2, fire: (*run).ping},
		{name: "reload", weight: 2, fire: (*run).reload},
		// Targets.
		{name: "target down", weight: 4, least: 300 * ms, most: 3 * s, fire: (*run).targetDown},
	}
}

func device(t *tunnel) relay.Target { return relay.Target{Tunnel: t.ID(), Side: tunnels.Destination} }
func source(t *tunnel) relay.Target { return relay.Target{Tunnel: t.ID(), Side: tunnels.Source} }

func (r *run) relayFaults() *relay.Faults { return r.box.Relay.Faults() }

// breakDevice does what ends the device's connection, and notes that it must come back.
func (r *run) breakDevice(e event, do func(target relay.Target) int) bool {
	t := r.tunnels[e.tunnel]
	defer r.ledger.disturb(e.tunnel, e.fault)()
	now := time.Now()
	met := do(device(t)) > 0
	if met {
		t.expectDevice(now)
	}
	return met
}

func (r *run) breakSource(e event, do func(target relay.Target) int) bool {
	t := r.tunnels[e.tunnel]
	defer r.ledger.disturb(e.tunnel, e.fault)()
	generation := t.generation()
	met := do(source(t)) > 0
	if met {
		t.expectSource(generation + 1)
	}
	return met
}

func (r *run) cutDevice(_ context.Context, e event) bool {
	return r.breakDevice(e, r.relayFaults().Cut)
}

func (r *run) cutSource(_ context.Context, e event) bool {
	return r.breakSource(e, r.relayFaults().Cut)
}

var closeCodes = []int{0, 1000, 1001, 1002, 1003, 1008, 1009, 1011, 1012, 1013, 4000, 4999}

func (r *run) closeWithCode(_ context.Context, e event) bool {
	do := func(t relay.Target) int {
		return r.relayFaults().CloseWith(t, closeCodes[e.draw[1]%len(closeCodes)], "the soak says so")
	}
	if e.draw[0]%3 == 0 {
		return r.breakSource(e, do)
	}
	return r.breakDevice(e, do)
}

func (r *run) refuse(_ context.Context, e event) bool {
	return r.breakDevice(e, func(t relay.Target) int {
		no := relay.Refusal{Count: 1 + e.draw[0]%2, Status: []int{500, 502, 503, 504, 429}[e.draw[1]%5]}
		if e.draw[2]%2 == 0 {
			no.RetryAfter = "1"
		}
		r.relayFaults().Refuse(t, no)
		return r.relayFaults().Cut(t)
	})
}

// refuse4xx refuses a pair of tokens that has worked: the service may only still hold the old connection. Nothing may
// put a new pair in its way meanwhile, for which one refusal is the end.
func (r *run) refuse4xx(ctx context.Context, e event) bool {
	t := r.tunnels[e.tunnel]
	if !t.tokens.TryLock() {
		return false
	}
	defer t.tokens.Unlock()
	if !r.daemonBusy.TryLock() {
		return false
	}
	defer r.daemonBusy.Unlock()
	if !r.deviceConnected(e.tunnel) {
		return false
	}
	r.breakDevice(e, func(target relay.Target) int {
		r.relayFaults().Refuse(target, relay.Refusal{Count: 1, Status: 403, Body: "Not now."})
		for r.relayFaults().Cut(target) == 0 && pause(ctx, 50*ms) {
		}
		return 1
	})
	for !r.deviceBack(e.tunnel) && pause(ctx, 50*ms) {
	}
	return true
}

func (r *run) loseAnswer(_ context.Context, e event) bool {
	return r.breakDevice(e, func(t relay.Target) int {
		r.relayFaults().LoseAnswers(t, 1)
		return r.relayFaults().Cut(t)
	})
}

func (r *run) slowHandshake(ctx context.Context, e event) bool {
	return r.conditioned(ctx, e, relay.Conditions{SlowHandshake: e.lasts / 2}, func() bool { return r.cutDevice(ctx, e) })
}

// sessionReset is the service's word that it lost track: all streams end, the websockets stay.
func (r *run) sessionReset(_ context.Context, e event) bool {
	defer r.ledger.disturb(e.tunnel, e.fault)()
	return r.relayFaults().SendMessage(relay.Target{Tunnel: r.tunnels[e.tunnel].ID()}, frame.Message{Type: frame.SessionReset}) > 0
}

// strand leaves both sides with connections that nothing passes any more.
func (r *run) strand(ctx context.Context, e event) bool {
	dev := r.breakDevice(e, r.relayFaults().Strand)
	src := r.breakSource(e, r.relayFaults().Strand)
	return dev || src
}

func (r *run) longHole(ctx context.Context, e event) bool {
	t := r.tunnels[e.tunnel]
	defer r.ledger.disturb(e.tunnel, e.fault)()
	if !r.deviceConnected(e.tunnel) {
		return false
	}
	return r.conditioned(ctx, e, relay.Conditions{BlackHole: true}, func() bool {
		t.expectDevice(time.Now())
		t.expectSource(t.generation() + 1)
		return true
	})
}

// condition makes a fault of conditions that end no connection.
func condition(of func(event) relay.Conditions) func(*run, context.Context, event) bool {
	return func(r *run, ctx context.Context, e event) bool {
		return r.conditioned(ctx, e, of(e), func() bool { return true })
	}
}

// conditioned holds conditions on a tunnel for as long as the event lasts. Only one of their kind at a time: they would
// take each other back.
func (r *run) conditioned(ctx context.Context, e event, c relay.Conditions, do func() bool) bool {
	t := r.tunnels[e.tunnel]
	if !t.conditions.TryLock() {
		return false
	}
	defer t.conditions.Unlock()
	target := relay.Target{Tunnel: t.ID()}
	r.relayFaults().Set(target, c)
	met := do()
	pause(ctx, e.lasts)
	r.relayFaults().Set(target, relay.Conditions{})
	r.ledger.healed(e.tunnel)
	return met
}

func (r *run) dropAll(_ context.Context, e event) (met bool) {
	for i := range r.tunnels {
		e.tunnel = i
		dev, src := r.breakDevice(e, r.relayFaults().Cut), r.breakSource(e, r.relayFaults().Cut)
		met = met || dev || src
	}
	return met
}

func (r *run) kill(ctx context.Context, e event) bool {
	return r.restartDaemon(ctx, e, func() { r.daemon.kill() })
}

func (r *run) restart(ctx context.Context, e event) bool {
	return r.restartDaemon(ctx, e, func() { r.daemon.stop() })
}

func (r *run) restartDaemon(ctx context.Context, e event, end func()) bool {
	if !r.daemonBusy.TryLock() {
		return false
	}
	defer r.daemonBusy.Unlock()
	defer r.ledger.dies()()
	for i, t := range r.tunnels {
		defer r.ledger.disturb(i, e.fault)()
		t.expectDevice(time.Now())
	}
	end()
	pause(ctx, e.lasts)
	if err := r.daemon.start(); err != nil {
		r.ledger.violated("culvertd does not start again: %v", err)
	}
	return true
}

func (r *run) healedAll() {
	for i := range r.tunnels {
		r.ledger.healed(i)
	}
}

func (r *run) brokerOutage(ctx context.Context, e event) bool {
	if !r.brokerBusy.TryLock() {
		return false
	}
	defer r.brokerBusy.Unlock()
	r.box.Broker.Stop()
	pause(ctx, e.lasts)
	if err := again(r.box.Broker.Restart); err != nil {
		r.ledger.violated("the sandbox's broker does not start again: %v", err)
	}
	r.healedAll()
	return true
}

func (r *run) brokerFrozen(ctx context.Context, e event) bool {
	if !r.brokerBusy.TryLock() {
		return false
	}
	defer r.brokerBusy.Unlock()
	r.box.Broker.Freeze(true)
	pause(ctx, e.lasts)
	r.box.Broker.Freeze(false)
	r.healedAll()
	return true
}

func (r *run) kick(context.Context, event) bool {
	met := false
	for _, c := range r.box.Broker.Clients() {
		met = r.box.Broker.Kick(c.ID) || met
	}
	return met
}

func (r *run) ping(_ context.Context, e event) bool {
	return r.relayFaults().Ping(relay.Target{Tunnel: r.tunnels[e.tunnel].ID()}, []string{"", "7", "no number"}[e.draw[0]%3]) > 0
}

func (r *run) reload(context.Context, event) bool { return r.daemon.reload() }

func (r *run) targetDown(ctx context.Context, e event) bool {
	names := []string{serviceA, serviceB, serviceC, serviceUnix}
	t := r.targets[names[e.draw[0]%len(names)]]
	if !t.busy.TryLock() {
		return false
	}
	defer t.busy.Unlock()
	r.ledger.outage(t.service, true)
	t.close()
	pause(ctx, e.lasts)
	if err := again(t.listen); err != nil {
		r.ledger.violated("the target of %s does not listen again: %v", t.service, err)
	}
	r.ledger.outage(t.service, false)
	return true
}

// again listens again: another program may hold the port for a moment.
func again(listen func() error) error {
	limit, cancel := context.WithTimeout(context.Background(), 30*s)
	defer cancel()
	for {
		err := listen()
		if err == nil || !pause(limit, 100*ms) {
			return err
		}
	}
}

// freePort finds a port that no listener on a free port and no outgoing connection is given: it stays free while no
// program listens on it.
func freePort(r *rand.Rand) (int, error) {
	const least, most, tries = 12_000, 32_000, 1000 // the system's own begin at 32768
	for range tries {
		port := least + r.IntN(most-least)
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port was found")
}

// how is the way of a notification that a draw chooses.
func how(draw int) sandbox.Notifications {
	switch draw % 4 {
	case 0:
		return sandbox.Notifications{Repeat: true}
	case 1:
		return sandbox.Notifications{Repeat: true, RepeatAfter: 3 * s}
	default:
		return sandbox.Notifications{}
	}
}
