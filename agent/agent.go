// Package agent is a device's control plane: it takes notifications from MQTT or from the control socket,
// and turns each into a running tunnel.
//
//	MQTT -> notify.Client -------------+
//	                                   +-> session.Manager -> tunnels
//	control socket -> notify.Decode ---+
//
// It wires its parts and knows nothing of the wire format, of signals or of systemd.
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/agent/hook"
	"github.com/culvert-iot/culvert/agent/notify"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/changes"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/services"
)

const (
	// StopTimeout bounds how long Run takes to return once it was told to stop.
	StopTimeout = 4 * time.Second
	// closeTimeout is the tunnels' share of it.
	closeTimeout = 3 * time.Second
)

// Options are what the process around the agent brings. Logger is required.
type Options struct {
	Logger *slog.Logger
	// Level, if set, is the logger's own; Reload changes it.
	Level *slog.LevelVar
	// Ready, if set, is called once: earlier tunnels are being resumed, the control socket answers and the
	// MQTT client is at work. It does not wait for the network, which may come much later.
	Ready func()
	// Settled, if set, is called each time that a connection to AWS has been made: the work and the memory of a
	// handshake are over. It must be quick.
	Settled func()
	// MaxConnections bounds the connections of all tunnels together. 0: each tunnel has its own limit only.
	MaxConnections int
	// Dial opens the connections to AWS. nil: through the web proxy of the environment, if it names one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Agent is the daemon without its process.
type Agent struct {
	opts     Options
	log      *slog.Logger
	started  time.Time
	table    *services.Table
	sessions *session.Manager
	mqtt     *notify.Client
	hooks    *hook.Runner
	drops    dropLog
	links    links
	clock    *clockFloor
	settle   chan struct{} // holds the news of one connection to AWS
	notified notifications

	mu      sync.Mutex
	running *config.Config // what Run was started with, which Reload cannot change in all
	current *config.Config // the latest
}

// New makes an agent of a valid configuration. It opens nothing yet.
func New(cfg *config.Config, opts Options) *Agent {
	if opts.Dial == nil {
		opts.Dial = netdial.FromEnvironment().DialContext
	}
	a := &Agent{opts: opts, log: opts.Logger, started: time.Now(), running: cfg, current: cfg}
	opts.Dial = a.links.dial(opts.Dial)
	a.clock = newClockFloor(cfg.Tunnel.StateDir, built())
	a.settle = make(chan struct{}, 1)
	a.table = services.NewTable(cfg.Services)
	a.table.SetConnectTimeout(cfg.Tunnel.ConnectTimeout)
	a.setLevel(cfg)
	a.hooks = hook.New(hookConfig(cfg), opts.Logger)
	a.sessions = session.NewManager(session.Config{
		ThingName:      cfg.ThingName,
		Endpoint:       cfg.Tunnel.Endpoint,
		Regions:        cfg.Tunnel.Regions,
		MaxTunnels:     cfg.Tunnel.MaxTunnels,
		MaxConnections: opts.MaxConnections,
		StateDir:       cfg.Tunnel.StateDir,
		Services:       a.table,
		TLS:            (&tunnelRoots{file: cfg.Tunnel.CAFile, now: a.clock.now, log: opts.Logger}).config,
		NetDial:        opts.Dial,
		Observe:        a.observe,
		Connected:      a.settled,
		Logger:         opts.Logger,
	})
	a.mqtt = notify.New(notify.Config{
		ThingName:         cfg.ThingName,
		Host:              cfg.MQTT.Endpoint,
		Port:              cfg.MQTT.Port,
		ClientID:          cfg.MQTT.ClientID,
		TLS:               func() (*tls.Config, error) { return mqttTLS(cfg, a.clock.now) },
		Login:             Login(cfg),
		KeepAlive:         cfg.MQTT.KeepAlive,
		PersistentSession: cfg.MQTT.PersistentSession,
		Invalid:           a.invalid,
		Dial:              opts.Dial,
		Logger:            opts.Logger,
	})
	return a
}

// Run works until ctx ends, and then stops within StopTimeout: streams are reset, websockets closed, pairs of
// tokens kept for the next start. It returns nil then, and an error when it cannot run at all or has to give
// up: another daemon is running, or a task did not end. Call it once.
func (a *Agent) Run(ctx context.Context) error {
	a.warn(a.running)
	server, err := a.listen()
	if err != nil {
		return err
	}
	hooks, killHooks := context.WithCancel(context.WithoutCancel(ctx))
	defer killHooks()
	if _, err := a.sessions.Resume(); err != nil {
		if server != nil {
			server.Close()
		}
		return err
	}

	group, tasks := errgroup.WithContext(ctx)
	group.Go(func() error {
		if a.running.MQTT.Disabled {
			return nil
		}
		err := a.mqtt.Run(tasks, func(n notify.Notification) { a.accept(n) })
		return unlessStopped(tasks, err)
	})
	group.Go(func() error {
		select {
		case <-a.mqtt.Ready():
			a.settled()
		case <-tasks.Done():
		}
		return nil
	})
	group.Go(func() error {
		a.keepClock(tasks)
		return nil
	})
	group.Go(func() error {
		changes.Clock(tasks, a.clockSet)
		return nil
	})
	group.Go(func() error {
		changes.Addresses(tasks, a.addressesChanged)
		return nil
	})
	if server != nil {
		group.Go(func() error { return unlessStopped(tasks, server.Serve(tasks, a.answer)) })
	}
	if figures := a.watch(); figures != nil {
		group.Go(func() error { return unlessStopped(tasks, figures.Serve(tasks, a.figures)) })
	}
	group.Go(func() error {
		<-tasks.Done()
		limit, cancel := context.WithTimeout(context.WithoutCancel(tasks), closeTimeout)
		defer cancel()
		defer a.finishHooks(killHooks)
		return a.sessions.Close(limit)
	})
	group.Go(func() error {
		a.hooks.Run(hooks)
		return nil
	})
	if a.opts.Ready != nil {
		a.opts.Ready()
	}

	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-tasks.Done():
	}
	// The tasks bound themselves; this holds if one of them is wrong about that.
	limit := time.NewTimer(StopTimeout)
	defer limit.Stop()
	select {
	case err := <-ended:
		return err
	case <-limit.C:
		return fmt.Errorf("not everything has stopped within %v", StopTimeout)
	}
}

// settled is called each time that a connection to AWS has been made. It is quick.
func (a *Agent) settled() {
	if a.opts.Settled != nil {
		a.opts.Settled()
	}
	select {
	case a.settle <- struct{}{}:
	default:
	}
}

// keepClock raises the clock's floor while there are connections to AWS.
func (a *Agent) keepClock(ctx context.Context) {
	daily := time.NewTicker(clockEvery)
	defer daily.Stop()
	for {
		select {
		case <-a.settle:
			a.clock.raise()
		case <-daily.C:
			if a.mqtt.State().Subscribed {
				a.clock.raise()
			}
		case <-ctx.Done():
			return
		}
	}
}

// clockSet is called after the wall clock was set: certificates that were not valid yet may be.
func (a *Agent) clockSet() {
	a.log.Info("the clock was set", "reason", time.Now().UTC().Format(time.RFC3339))
	a.retryMQTT()
}

// addressesChanged is called after an address of this machine has come or gone.
func (a *Agent) addressesChanged() {
	present, err := ownAddresses()
	if err != nil {
		return
	}
	if n := a.links.drop(present); n > 0 {
		a.log.Info("the network address has changed, reconnecting", "connections", n)
	}
	a.retryMQTT()
}

// retryMQTT ends a wait for the next attempt.
func (a *Agent) retryMQTT() {
	if !a.running.MQTT.Disabled && !a.mqtt.State().Connected {
		a.mqtt.Renew()
	}
}

// Subscribed is closed when the first subscription to notifications stands: the device can be reached. Without MQTT it is
// from the start: others bring the notifications.
func (a *Agent) Subscribed() <-chan struct{} {
	if a.running.MQTT.Disabled {
		ready := make(chan struct{})
		close(ready)
		return ready
	}
	return a.mqtt.Ready()
}

// Stuck names what the agent has been at for minutes though it takes seconds, or returns "": for a watchdog, which
// had better start the program anew.
func (a *Agent) Stuck() string { return a.mqtt.Stuck() }

// unlessStopped drops the error of a task that was told to end.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it only says that ctx has ended
	}
	return err
}

// listen makes the control socket. A daemon that can open tunnels and not tell about them is better than
// none, but two of them would take each other's MQTT connection away for ever.
func (a *Agent) listen() (*control.Server, error) {
	path := a.running.Control.Socket
	if path == "" {
		return nil, nil
	}
	server, err := control.Listen(path, a.running.Control.Group, a.log)
	if err != nil && !errors.Is(err, control.ErrRunning) {
		a.log.Warn("control socket cannot be made, status and notify will not work", "error", err)
		err = nil
	}
	return server, err
}

// answer serves the control socket.
func (a *Agent) answer(_ context.Context, r control.Request) (any, error) {
	switch r.Command {
	case control.Ping:
		return os.Getpid(), nil
	case control.Status:
		return a.Status(), nil
	case control.Notify:
		n, err := notify.Decode(r.Payload)
		if err != nil {
			a.invalid(err)
			return session.Outcome{}, err
		}
		o := a.accept(n)
		if o.Result == session.Refused {
			err = errors.New(o.Reason)
		}
		return o, err
	}
	return nil, fmt.Errorf("command %q is unknown", r.Command)
}

// invalid counts a message that is no notification.
func (a *Agent) invalid(err error) {
	a.notified.invalid.Add(1)
	if count, ok := a.drops.note(err.Error(), time.Now()); ok {
		a.log.Warn("notification dropped", "reason", err.Error(), "attempt", count)
	}
}

// accept hands a notification to the sessions.
func (a *Agent) accept(n notify.Notification) session.Outcome {
	o := a.sessions.Accept(session.Token{
		AccessToken: n.AccessToken, Region: n.Region, Services: n.Services, Received: n.Received,
	})
	a.notified.count(o.Result)
	return o
}

// Reload takes over what a running daemon can change: services, hooks, connect_timeout, the log's level,
// max_tunnels and regions, and certificate files whose content has changed. Live connections and tunnels stay.
// It returns the keys that differ and need a restart.
func (a *Agent) Reload(next *config.Config) (restart []string) {
	a.mu.Lock()
	a.current = next
	a.mu.Unlock()
	a.warn(next)
	a.table.Replace(next.Services)
	a.table.SetConnectTimeout(next.Tunnel.ConnectTimeout)
	a.sessions.SetLimits(next.Tunnel.MaxTunnels, next.Tunnel.Regions)
	a.hooks.Set(hookConfig(next))
	a.setLevel(next)
	if !a.running.MQTT.Disabled {
		a.mqtt.Renew()
	}
	return a.running.RestartNeeded(next)
}

func (a *Agent) setLevel(cfg *config.Config) {
	if a.opts.Level != nil {
		a.opts.Level.Set(cfg.Log.Level)
	}
}

// warn logs what a configuration allows and hardly means.
func (a *Agent) warn(cfg *config.Config) {
	for _, w := range cfg.Warnings() {
		a.log.Warn("configuration looks wrong", "reason", w)
	}
}
