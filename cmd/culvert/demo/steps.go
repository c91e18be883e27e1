package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// signals records when the device's side of the tunnel connected: when the relay sent it the services.
type signals struct {
	mu        sync.Mutex
	connected []time.Time
}

func (s *signals) observe(e relay.Event) {
	if e.From == "" && e.To == tunnels.Destination && e.Message.Type == frame.ServiceIDs {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.connected = append(s.connected, time.Now())
	}
}

// count is how many times the device connected so far.
func (s *signals) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.connected)
}

// wait waits until the device has connected more than n times, and returns when it did.
func (s *signals) wait(ctx context.Context, n int) (at time.Time, err error) {
	err = until(ctx, func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.connected) > n {
			at = s.connected[n]
		}
		return len(s.connected) > n, nil
	})
	return at, err
}

func (r *run) startSandbox(ctx context.Context) (string, string, error) {
	started := time.Now()
	addresses := map[string]string{}
	for _, name := range services {
		network, address := "tcp", "127.0.0.1:0"
		if socket := filepath.Join(r.dir, "app.sock"); name == "APP" && len(socket) <= maxSocketPath {
			network, address = "unix", socket
		}
		l, err := new(net.ListenConfig).Listen(ctx, network, address)
		if err != nil {
			return "", "", fmt.Errorf("a target for service %s: %w", name, err)
		}
		r.targets = append(r.targets, newTarget(name, l, r.flows))
		addresses[name] = l.Addr().String()
		if network == "unix" {
			addresses[name] = "unix:" + socket(l)
		}
	}
	box, err := sandbox.Start(context.WithoutCancel(ctx), sandbox.Config{
		Dir: filepath.Join(r.dir, "sandbox"), Things: []string{thing}, Services: addresses,
		Relay: relay.Config{Observe: r.signals.observe},
	})
	if err != nil {
		return "", "", err
	}
	r.box = box
	if r.device, err = box.Device(thing); err != nil {
		return "", "", err
	}
	return duration(time.Since(started)), "stands for AWS IoT, on 127.0.0.1", nil
}

// maxSocketPath is the longest path of a unix socket that every system takes.
const maxSocketPath = 103

func socket(l net.Listener) string { return l.Addr().String() }

func (r *run) startDaemon(ctx context.Context) (string, string, error) {
	started := time.Now()
	var err error
	if r.daemon, err = startDaemon(r.cfg.Culvertd, r.device.ConfigFile); err != nil {
		return "", "", err
	}
	err = within(ctx, "culvertd subscribed to its notifications", func(ctx context.Context) error {
		return until(ctx, func() (bool, error) {
			for _, c := range r.box.Broker.Clients() {
				if c.Thing == thing && c.Connected && len(c.Subscriptions) > 0 {
					return true, nil
				}
			}
			return false, r.daemon.alive()
		})
	})
	if err != nil {
		return "", "", err
	}
	return duration(time.Since(started)), fmt.Sprintf("process %d, waits for notifications", r.daemon.cmd.Process.Pid), nil
}

// notified returns when the notification of a token was published.
func (r *run) notified(t token) (time.Time, error) {
	for _, n := range slices.Backward(r.box.Notices()) {
		if n.Token == t.ID() {
			return n.At, nil
		}
	}
	return time.Time{}, errors.New("the sandbox published no notification")
}

func (r *run) openTunnel(ctx context.Context) (string, string, error) {
	n := r.signals.count()
	err := r.control(ctx, "OpenTunnel", map[string]any{
		"description": "culvert demo", "destinationConfig": destinationConfig{thing, services},
		"timeoutConfig": map[string]int{"maxLifetimeTimeoutMinutes": 30},
	}, &r.tunnel)
	if err != nil {
		return "", "", err
	}
	at, err := r.back(ctx, n)
	if err != nil {
		return "", "", err
	}
	published, err := r.notified(r.tunnel.DestinationAccessToken)
	if err != nil {
		return "", "", err
	}
	return duration(at.Sub(published)), fmt.Sprintf("notification to tunnel, token %s", r.tunnel.DestinationAccessToken.ID()), nil
}

// back waits until the device has connected more than n times.
func (r *run) back(ctx context.Context, n int) (at time.Time, err error) {
	err = within(ctx, "culvertd connected to the tunnel", func(ctx context.Context) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-r.daemon.exited:
				cancel(r.daemon.alive())
			case <-stop:
			}
		}()
		at, err = r.signals.wait(ctx, n)
		return err
	})
	return at, err
}

func (r *run) connectOperator(ctx context.Context) (string, string, error) {
	started := time.Now()
	err := within(ctx, "the operator's side connected", func(ctx context.Context) (err error) {
		r.operator, err = newOperator(ctx, r.box.RelayURL, &tls.Config{RootCAs: r.box.CA.Pool(), MinVersion: tls.VersionTLS12}, r.tunnel.SourceAccessToken)
		return err
	})
	if err != nil {
		return "", "", err
	}
	for _, s := range services {
		if r.operator.addresses[s] == "" {
			return "", "", fmt.Errorf("the tunnel has services %s, and not %s", list(r.operator.source.Services()), s)
		}
	}
	if err := r.works(ctx); err != nil {
		return "", "", err
	}
	return duration(time.Since(started)), fmt.Sprintf("until %s answered", list(services)), nil
}

// works waits until new connections to every service carry bytes there and back.
func (r *run) works(ctx context.Context) error {
	var mu sync.Mutex
	var last error // of an attempt
	err := within(ctx, "a new connection to every service works", func(ctx context.Context) error {
		var all sync.WaitGroup
		errs := make([]error, len(services))
		for i, s := range services {
			all.Go(func() {
				errs[i] = until(ctx, func() (bool, error) {
					attempt, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					err := r.flows.echo(attempt, s, r.operator.addresses[s])
					switch {
					case err == nil:
						return true, nil
					case errors.Is(err, errWrong):
						return false, err
					}
					mu.Lock()
					last = fmt.Errorf("service %s: %w", s, err)
					mu.Unlock()
					return false, errors.Join(r.operator.alive(), r.daemon.alive())
				})
			})
		}
		all.Wait()
		return errors.Join(errs...)
	})
	if err != nil && last != nil && ctx.Err() == nil {
		return fmt.Errorf("%w (the last attempt: %w)", err, last)
	}
	return err
}

// perService is how many connections each service gets at once.
const perService = 2

// transfer moves all bytes one way, over several connections to all services at once.
func (r *run) transfer(ctx context.Context, d direction) (string, string, error) {
	total := r.cfg.Bytes
	n := min(total, int64(perService*len(services)))
	var list []*flow
	for i := range n {
		s := services[i%int64(len(services))]
		list = append(list, r.flows.make(s, r.operator.addresses[s], d, total/n+min(1, max(0, total%n-i))))
	}
	m := start(ctx, list)
	m.watch(func(sum, _ int64) bool {
		if took := time.Since(m.started); took > time.Second/4 {
			r.progress(rate(sum, took), fmt.Sprintf("%s of %s", size(sum), size(total)))
		}
		return false
	})
	<-m.ended
	if err := errors.Join(m.result.complete(), r.checkPeers()); err != nil {
		return "", "", fmt.Errorf("after %s of %s bytes: %w", count(m.result.bytes), count(total), err)
	}
	if m.result.bytes != total {
		return "", "", fmt.Errorf("%s bytes arrived of %s", count(m.result.bytes), count(total))
	}
	r.whole += total
	return rate(total, m.result.took), fmt.Sprintf("%s, %s, SHA-256 equal", size(total), plural(n, "connection")), nil
}

// enough is how many bytes a transfer moves before an event, and at least after it.
const enough = 1 << 20

// startEndless starts transfers that have no end, both ways to every service, and waits until bytes flow on each.
func (r *run) startEndless(ctx context.Context) error {
	const endless = 1 << 50
	var list []*flow
	for _, s := range services {
		for _, d := range []direction{toDevice, fromDevice} {
			list = append(list, r.flows.make(s, r.operator.addresses[s], d, endless))
		}
	}
	r.kept = start(ctx, list)
	ready := false
	r.kept.watch(func(_, least int64) bool {
		ready = least >= enough
		return ready
	})
	if !ready {
		return fmt.Errorf("a transfer ended too early: %w", errors.Join(r.kept.result.errs...))
	}
	return nil
}

func (r *run) rotate(ctx context.Context) (string, string, error) {
	if err := r.startEndless(ctx); err != nil {
		return "", "", err
	}
	n := r.signals.count()
	var rotated tunnel
	err := r.control(ctx, "RotateTunnelAccessToken", map[string]any{
		"tunnelId": r.tunnel.ID, "clientMode": "DESTINATION", "destinationConfig": destinationConfig{thing, services},
	}, &rotated)
	if err != nil {
		return "", "", err
	}
	at, err := r.back(ctx, n)
	if err != nil {
		return "", "", err
	}
	r.tunnel.DestinationAccessToken = rotated.DestinationAccessToken
	published, err := r.notified(rotated.DestinationAccessToken)
	if err != nil {
		return "", "", err
	}
	r.event, r.before = published, r.kept.each()
	return duration(at.Sub(published)), fmt.Sprintf("in mid-transfer, new token %s", rotated.DestinationAccessToken.ID()), nil
}

func (r *run) cutNetwork(ctx context.Context) (string, string, error) {
	if err := r.startEndless(ctx); err != nil {
		return "", "", err
	}
	n := r.signals.count()
	r.event = time.Now()
	if met := r.box.Relay.Faults().Cut(relay.Target{Tunnel: r.tunnel.ID, Side: tunnels.Destination}); met != 1 {
		return "", "", fmt.Errorf("%d connections of the device were there to be cut", met)
	}
	at, err := r.back(ctx, n)
	if err != nil {
		return "", "", err
	}
	r.before = r.kept.each()
	return duration(at.Sub(r.event)), fmt.Sprintf("in mid-transfer, same token %s", r.tunnel.DestinationAccessToken.ID()), nil
}

// again waits until new connections work after an event. It then checks with culvertd that the device
// is connected by the current token, for the nth time.
func (r *run) again(ctx context.Context, nth int) (string, string, error) {
	if err := r.works(ctx); err != nil {
		return "", "", err
	}
	worked := time.Now()
	if err := r.connectedBy(ctx, r.tunnel.DestinationAccessToken, nth); err != nil {
		return "", "", err
	}
	return duration(worked.Sub(r.event)), fmt.Sprintf("until %s answered again", list(services)), nil
}

// connectedBy checks with the daemon that it is connected by a token, for the nth time.
func (r *run) connectedBy(ctx context.Context, t token, nth int) error {
	list, err := r.daemon.sessions(ctx)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.ID == t.ID() {
			if s.State != "connected" || s.Connects != nth {
				return fmt.Errorf("culvertd reports session %s as %s, connected %d times; expected connected, %d", s.ID, s.State, s.Connects, nth)
			}
			return nil
		}
	}
	return fmt.Errorf("culvertd knows no session %s", t.ID())
}

// carryOn waits until each transfer that the event interrupted has moved on, and then ends them. None may have ended
// before, and every byte that arrived must be correct.
func (r *run) carryOn(context.Context) (string, string, error) {
	r.kept.watch(func(int64, int64) bool { return r.kept.beyond(r.before, enough) })
	went := time.Now()
	all := r.kept.beyond(r.before, enough)
	r.kept.cancel(errEnough)
	<-r.kept.ended
	if err := errors.Join(r.kept.result.carried(), r.checkPeers()); err != nil {
		return "", "", err
	}
	if !all {
		return "", "", errors.New("a transfer did not go on")
	}
	moved, _ := r.kept.moved()
	r.survived += len(r.kept.list)
	r.moved += moved
	return duration(went.Sub(r.event)), fmt.Sprintf("until all %d transfers went on, none wrong", len(r.kept.list)), nil
}

func (r *run) closeTunnel(ctx context.Context) (string, string, error) {
	moment := time.Now()
	if err := r.control(ctx, "CloseTunnel", map[string]any{"tunnelId": r.tunnel.ID}, nil); err != nil {
		return "", "", err
	}
	err := within(ctx, "culvertd ended its session", func(ctx context.Context) error {
		return until(ctx, func() (bool, error) {
			list, err := r.daemon.sessions(ctx)
			return !slices.ContainsFunc(list, func(s session) bool { return s.State != "ended" }), err
		})
	})
	if err != nil {
		return "", "", err
	}
	return duration(time.Since(moment)), "until culvertd reported its session ended", nil
}

func (r *run) stopDaemon(ctx context.Context) (string, string, error) {
	moment := time.Now()
	err := within(ctx, "culvertd ended after SIGTERM", r.daemon.stop)
	if err != nil {
		return "", "", fmt.Errorf("culvertd after SIGTERM: %w", err)
	}
	return duration(time.Since(moment)), "after SIGTERM, exit code 0", r.checkPeers()
}
