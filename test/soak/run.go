package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	aws "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// What the daemon may hold at any moment: some 5 tunnels with 4 MiB of waiting bytes each, beside 20 MB of its own.
const (
	maxRSS         = 100_000 // kB
	maxDescriptors = 600
	maxGoroutines  = 600
)

// run is one soak.
type run struct {
	opts    options
	ledger  *ledger
	limit   time.Duration // in which everything ends, and whatever may come back does
	box     *sandbox.Sandbox
	tls     *tls.Config
	api     *aws.Client
	daemon  *daemon
	targets map[string]*target
	tunnels []*tunnel

	left                                  string // the daemon's resources at the last check of its rest
	notifications, daemonBusy, brokerBusy sync.Mutex

	idle, last struct {
		usage
		goroutines int
	}
}

// limitOfEnds is how long an end or a return may take. A silent websocket is noticed after 40 s, and what is left is
// written for 10 s; a session that failed often waits up to 60 s for its next attempt.
const limitOfEnds = 90 * time.Second

// soak makes a run of it; the error is about the run itself, findings are in the ledger.
func soak(ctx context.Context, opts options) (r *run, err error) {
	r = &run{opts: opts, limit: limitOfEnds, ledger: newLedger(len(tunnelPlans), opts.out), targets: map[string]*target{}}
	dir, err := os.MkdirTemp("", "soak-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	program := opts.program
	if program == "" {
		if program, err = harness.Build(ctx, dir, "culvertd", opts.race); err != nil {
			return r, err
		}
	}
	before := runtime.NumGoroutine()
	world, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if err := r.startWorld(world, dir, program); err != nil {
		return r, errors.Join(err, r.closeWorld())
	}
	err = r.play(ctx, world)
	end()
	err = errors.Join(err, r.closeWorld())
	if err == nil && len(r.ledger.violations) == 0 {
		r.checkOwnGoroutines(before)
	}
	r.ledger.events = append(r.ledger.events, "", "culvertd's last words:")
	r.ledger.events = append(r.ledger.events, r.daemon.lastLines(60)...)
	return r, err
}

// startWorld starts the cloud, the targets and the daemon's configuration.
func (r *run) startWorld(ctx context.Context, dir, program string) (err error) {
	// The run's end stops whatever only waits.
	services := map[string]string{}
	ports := rand.New(rand.NewPCG(rand.Uint64(), 0)) //nolint:gosec // not of the seed: two runs at a time must differ
	for _, name := range []string{serviceA, serviceB, serviceC, serviceUnix, serviceProbe} {
		port, err := freePort(ports)
		if err != nil {
			return err
		}
		t := &target{service: name, network: "tcp", address: fmt.Sprintf("127.0.0.1:%d", port), ledger: r.ledger, limit: r.limit, ctx: ctx, wrap: r.opts.wrap}
		if name == serviceUnix {
			t.network, t.address = "unix", filepath.Join(dir, "app.sock")
		}
		if err := t.listen(); err != nil {
			return err
		}
		r.targets[name] = t
		services[name] = t.address
		if name == serviceUnix {
			services[name] = "unix:" + t.address
		}
	}
	draw := random(r.opts.seed, randomNetwork)
	cfg := sandbox.Config{Dir: dir, Things: []string{thing}, Services: services, AllowUnsigned: true, Behaviour: tunnels.Behaviour{
		RotationKeepsConnection: draw.IntN(2) == 0,
		RefusalReasonHeader:     draw.IntN(2) == 0,
	}}
	if cfg.Ports.MQTT, err = freePort(ports); err != nil {
		return err
	}
	if cfg.Ports.MQTTALPN, err = freePort(ports); err != nil {
		return err
	}
	cfg.Relay.Seed = draw.Uint64() | 1
	cfg.Relay.AddServiceToV1 = draw.IntN(2) == 0
	if r.box, err = sandbox.Start(context.WithoutCancel(ctx), cfg); err != nil {
		return err
	}
	r.tls = &tls.Config{RootCAs: r.box.CA.Pool(), MinVersion: tls.VersionTLS12}
	r.api = aws.New(aws.Options{Region: r.box.Region, BaseEndpoint: &r.box.APIURL})
	files, err := r.box.Device(thing)
	if err != nil {
		return err
	}
	// Sessions of tokens that were rotated away may wait for their next attempt before they learn of it.
	text, err := os.ReadFile(files.ConfigFile)
	if err != nil {
		return err
	}
	config := strings.Replace(string(text), "[tunnel]\n", "[tunnel]\nmax_tunnels = 200\n", 1)
	if err := os.WriteFile(files.ConfigFile, []byte(config), 0o600); err != nil { //nolint:gosec // the sandbox made the path
		return err
	}
	r.daemon = &daemon{program: program, config: files.ConfigFile, socket: files.Socket, logFile: filepath.Join(dir, "culvertd.log"), ledger: r.ledger}
	if r.opts.log != "" {
		r.daemon.logFile = r.opts.log
	}
	for i, plan := range tunnelPlans {
		t := &tunnel{index: i, plan: plan, run: r}
		if plan.half {
			t.resume = proxy.NewResumption(proxy.DefaultResumeTimeout)
		}
		r.tunnels = append(r.tunnels, t)
		r.ledger.resumes = append(r.ledger.resumes, plan.half)
	}
	return r.daemon.start()
}

func (r *run) closeWorld() error {
	if r.daemon != nil && r.daemon.now != nil {
		r.daemon.kill()
	}
	var err error
	if r.box != nil {
		err = r.box.Close()
	}
	for _, t := range r.targets {
		t.close()
		t.tasks.Wait()
	}
	return err
}

// play goes through the run: everything up, traffic and faults, everything at rest again.
func (r *run) play(ctx, world context.Context) error {
	var keepers sync.WaitGroup
	world, end := context.WithCancel(world)
	defer keepers.Wait()
	defer end()
	// What is published before a device's first subscription is lost.
	if !r.await(ctx, "culvertd has subscribed", func() bool {
		return slices.ContainsFunc(r.box.Broker.Clients(), func(c broker.ClientState) bool { return len(c.Subscriptions) > 0 })
	}) {
		return nil
	}
	for _, t := range r.tunnels {
		if err := r.openTunnel(ctx, t, sandbox.Notifications{}); err != nil {
			return err
		}
		keepers.Go(func() { t.operate(world) })
		keepers.Go(func() { r.watch(world, t) })
	}
	keepers.Go(func() { r.measure(world) })

	if !r.await(ctx, "all tunnels work", r.allCalm) {
		return nil
	}
	if err := r.baseline(ctx); err != nil {
		return err
	}
	if !r.await(ctx, "all tunnels work", r.allCalm) {
		return nil
	}
	r.ledger.note("traffic and faults begin")
	r.trafficAndFaults(ctx)
	r.ledger.note("traffic and faults end")
	if r.ledger.hasFailed() {
		return nil
	}
	r.relayFaults().Clear()
	r.healedAll()

	if !r.await(ctx, "all tunnels work again", r.allCalm) ||
		!r.await(ctx, "every connection has ended for both sides", func() bool { return len(r.ledger.lingering()) == 0 }) {
		return nil
	}
	return r.atRest(ctx)
}

func (r *run) allCalm() bool {
	for i := range r.tunnels {
		if _, disturbed := r.ledger.disturbed(i); disturbed {
			return false
		}
	}
	return true
}

// await waits for what must be so in time; false after any violation, that it is not among them.
func (r *run) await(ctx context.Context, what string, done func() bool) bool {
	limit, cancel := context.WithTimeout(ctx, r.limit+10*s)
	defer cancel()
	for !done() {
		if r.ledger.hasFailed() {
			return false
		}
		if !pause(limit, 20*ms) {
			if ctx.Err() == nil {
				r.ledger.violated("not within %v: %s; still there: %v", r.limit+10*s, what, r.ledger.lingering())
			}
			return false
		}
	}
	return true
}

// trafficAndFaults plays the schedule.
func (r *run) trafficAndFaults(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.length)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() {
		select {
		case <-r.ledger.failed:
			cancel()
		case <-ctx.Done():
		}
	})
	for _, t := range r.tunnels {
		for i := range t.plan.workers + t.plan.idlers {
			all.Go(func() { r.work(ctx, t, newTraffic(r.opts.seed, t.index, i, i >= t.plan.workers)) })
		}
	}
	start := time.Now()
	for _, e := range schedule(r.opts.seed, r.opts.length) {
		if !pause(ctx, time.Until(start.Add(e.at))) {
			break
		}
		all.Go(func() {
			f := faultNamed(e.fault)
			r.ledger.note("%v", e)
			met := f.fire(r, ctx, e)
			r.ledger.fired(e, met)
		})
	}
	all.Wait()
}

// work opens connections, one after the other, until ctx ends. The last one goes to its end.
func (r *run) work(ctx context.Context, t *tunnel, traffic *traffic) {
	for {
		o := traffic.operation()
		if !pause(ctx, o.wait) {
			return
		}
		r.operation(ctx, t, o)
	}
}

func (r *run) operation(ctx context.Context, t *tunnel, o operation) {
	if !t.plan.form.Connection {
		t.serial.Lock()
		defer t.serial.Unlock()
	}
	// Before there is a source nothing can be said to begin.
	if t.carrier(ctx) == nil {
		return
	}
	entry := r.ledger.begin(t.index, o.service, o.talk)
	local, err := t.open(ctx, o.service, o.tcp)
	if err != nil {
		r.ledger.unmade(o.talk.id)
		return
	}
	side := &side{ctx: ctx, conn: local, limit: r.limit, clock: r.ledger.count}
	got, err := side.client(&o.talk)
	_ = local.Close()
	r.ledger.ended(entry, false, got, err)
}

// fired counts a fault.
func (l *ledger) fired(e event, met bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !met {
		l.noteLocked("%v met nothing", e)
		return
	}
	l.tally.faults[e.fault]++
}
