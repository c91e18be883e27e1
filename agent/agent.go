package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/agent/hook"
	"github.com/culvert-iot/culvert/agent/notify"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/changes"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/loglimit"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/tlsdial"
	"github.com/culvert-iot/culvert/services"
)

const (
	// StopTimeout bounds how long Run takes to return once it was told to stop and there is no HandOver. With one it is
	// session.PutPatience more, which a slow service manager alone uses up. Its own limit, TimeoutStopSec= of the unit,
	// must be longer than the sum.
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
	// Connection, if set, is called each time that a connection to a local target opens or ends. It must be quick.
	Connection func()
	// HandOver keeps connections while this process is replaced by the next.
	HandOver session.HandOver
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
	dropMu   sync.Mutex // guards drops
	drops    loglimit.Limiter
	links    links
	// addresses is changes.Own.
	addresses func() (all, usable []netip.Addr, err error)
	clock     *clockFloor
	settle    chan struct{} // holds the news of one connection to AWS
	notified  notifications

	mu      sync.Mutex
	running *config.Config // what Run was started with, which Reload cannot change in all
	current *config.Config // the latest
}

// New makes an agent of a valid configuration. It opens nothing yet.
func New(cfg *config.Config, opts Options) *Agent {
	a := &Agent{opts: opts, log: opts.Logger, drops: loglimit.Limiter{Every: time.Hour, Kinds: 16}, started: time.Now(), running: cfg, current: cfg}
	a.clock = newClockFloor(cfg.Tunnel.StateDir, built(), ReadStamp, opts.Logger)
	if opts.Dial != nil {
		opts.Dial = a.links.dial(opts.Dial)
	} else {
		opts.Dial = a.links.through(netdial.FromEnvironment(), a.clock.now)
	}
	a.addresses = changes.Own
	a.settle = make(chan struct{}, 1)
	a.table = services.NewTable(cfg.Services)
	a.table.SetConnectTimeout(cfg.Tunnel.ConnectTimeout)
	a.setLevel(cfg)
	a.hooks = hook.New(cfg.Hooks, opts.Logger)
	roots := &tunnelRoots{file: cfg.Tunnel.CAFile, now: a.clock.now, log: opts.Logger}
	a.sessions = session.NewManager(session.Config{
		ThingName:      cfg.ThingName,
		Sessions:       cfg.Tunnel.Sessions,
		MaxConnections: opts.MaxConnections,
		HandOver:       opts.HandOver,
		Services:       a.table,
		TLS: func() *tls.Config {
			c, _ := a.clock.watch(roots.config(), nil)
			return c
		},
		NetDial:   opts.Dial,
		Observe:   a.observe,
		Connected: a.settled,
		Logger:    opts.Logger,
	})
	var answer func([]string) []byte
	if cfg.MQTT.AnswerPings {
		answer = a.answerPing
	}
	a.mqtt = notify.New(notify.Config{
		Answer:    answer,
		ThingName: cfg.ThingName,
		Broker:    cfg.MQTT.Broker,
		TLS:       func() (*tls.Config, error) { return a.clock.watch(BrokerTLS(cfg, a.clock.now)) },
		Login:     Login(cfg),
		Invalid:   a.invalid,
		Dial:      opts.Dial,
		Logger:    opts.Logger,
	})
	return a
}

// Run works until ctx ends, and then stops within StopTimeout (2 s more if a HandOver is slow): streams are reset, websockets closed, pairs of
// tokens kept for the next start. It returns nil then, and an error when it cannot run at all or has to give
// up: another daemon is running, or a task did not end. Call it once.
func (a *Agent) Run(ctx context.Context) error {
	a.warn(a.running)
	tlsdial.SetExplain(a.clock.explain)
	a.warnClock()
	server, err := a.listen()
	if err != nil {
		return err
	}
	if _, err := a.sessions.Resume(); err != nil {
		if server != nil {
			server.Close()
		}
		return err
	}
	return runTasks(ctx, a.tasks(ctx, server), a.opts.Ready, StopTimeout+a.handOverTime())
}

// handOverTime is how much longer the stop may take if there is a hand-over to the next process.
func (a *Agent) handOverTime() time.Duration {
	if a.opts.HandOver.Limit > 0 {
		return session.PutPatience
	}
	return 0
}

// tasks returns what runs as long as the agent does. server may be nil.
func (a *Agent) tasks(ctx context.Context, server *control.Server) []task {
	// Hooks outlive the tunnels by a moment, for the events of the end.
	hooks, killHooks := context.WithCancel(context.WithoutCancel(ctx))
	all := []task{
		{name: "tunnels", run: func(ctx context.Context) error {
			<-ctx.Done()
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			defer a.finishHooks(killHooks)
			return a.sessions.Close(limit)
		}},
		{name: "hooks", run: func(context.Context) error {
			defer killHooks()
			a.hooks.Run(hooks)
			return nil
		}},
		{name: "clock floor", run: untilDone(a.keepClock)},
		{name: "clock changes", run: untilDone(func(ctx context.Context) { changes.Clock(ctx, a.clockSet) })},
		{name: "address changes", run: untilDone(a.watchAddresses)},
	}
	if t := a.mqttTask(); !a.running.MQTT.Disabled {
		all = append(all, t, task{name: "mqtt ready", run: func(ctx context.Context) error {
			select {
			case <-t.Ready():
				a.settled()
			case <-ctx.Done():
			}
			return nil
		}})
	}
	if server != nil {
		all = append(all, task{name: "control socket", run: func(ctx context.Context) error {
			return unlessStopped(ctx, server.Serve(ctx, a.answer))
		}})
	}
	if server := a.listenMetrics(); server != nil {
		all = append(all, task{name: "metrics", run: func(ctx context.Context) error {
			return unlessStopped(ctx, server.Serve(ctx, a.serveMetrics))
		}})
	}
	return all
}

// mqttTask waits for notifications. It is ready when the first subscription stands.
func (a *Agent) mqttTask() task {
	if a.running.MQTT.Disabled {
		return task{name: "mqtt"}
	}
	return task{name: "mqtt", ready: a.mqtt.Ready(), run: func(ctx context.Context) error {
		return unlessStopped(ctx, a.mqtt.Run(ctx, func(n notify.Notification) { a.accept(n) }))
	}}
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

// keepClock raises the clock's floor: with what a new connection has proven, and daily.
func (a *Agent) keepClock(ctx context.Context) {
	daily := time.NewTicker(clockEvery)
	defer daily.Stop()
	for {
		select {
		case <-a.settle:
			a.clock.raise()
		case <-daily.C:
			a.clock.raise()
		case <-ctx.Done():
			return
		}
	}
}

// clockSet is called after the wall clock was set: certificates that were not valid yet may be.
func (a *Agent) clockSet() {
	a.log.Info("the clock was set", "reason", time.Now().UTC().Format(time.RFC3339))
	a.warnClock()
	a.retryConnections()
}

// warnClock says that the stamp in the state directory may keep TLS from working.
func (a *Agent) warnClock() {
	if err := a.clock.trouble(); err != nil {
		a.log.Warn("the stamp of the time is ahead of the clock", "error", hint.Line(err))
	}
}

// watchAddresses notices that the machine is in another network.
func (a *Agent) watchAddresses(ctx context.Context) {
	if _, usable, err := a.addresses(); err == nil {
		a.links.moved(usable)
	}
	changes.Addresses(ctx, a.addressesChanged)
}

// addressesChanged is called after an address of this machine has come or gone, or was only renewed. The latter is no
// reason to try again: all devices of a network would do it at the same moment, at each router's advertisement.
func (a *Agent) addressesChanged() {
	present, usable, err := a.addresses()
	if err != nil {
		return
	}
	n := a.links.drop(present)
	if n > 0 {
		a.log.Info("the network address has changed, reconnecting", "connections", n)
	}
	if moved := a.links.moved(usable); moved || n > 0 {
		a.retryConnections()
	}
}

// retryConnections ends waits for the next attempt.
func (a *Agent) retryConnections() {
	a.sessions.Retry()
	if !a.running.MQTT.Disabled && !a.mqtt.State().Connected {
		a.mqtt.Renew()
	}
}

// Subscribed is closed when the first subscription to notifications stands: the device can be reached. Without
// MQTT it is from the start: others bring the notifications.
func (a *Agent) Subscribed() <-chan struct{} { return a.mqttTask().Ready() }

// Stuck names what the agent has been at for minutes though it takes seconds, or returns "": for a watchdog, which
// should restart the process.
func (a *Agent) Stuck() string { return a.mqtt.Stuck() }

// listen makes the control socket. A daemon that opens tunnels and cannot report them is better than
// none, but two of them would take the MQTT connection from each other indefinitely.
func (a *Agent) listen() (*control.Server, error) {
	path := a.running.Control.Socket
	if path == "" {
		return nil, nil
	}
	server, err := control.Listen(path, a.running.Control.Group, a.log)
	if err != nil && !errors.Is(err, control.ErrRunning) {
		a.log.Warn("control socket cannot be made, status and notify will not work", "error", hint.Line(err))
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
	a.dropMu.Lock()
	suppressed, ok := a.drops.Allow(err.Error(), time.Now())
	a.dropMu.Unlock()
	if ok {
		a.log.Warn("notification dropped", "reason", err.Error(), "suppressed", suppressed)
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
	a.hooks.Set(next.Hooks)
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
		a.log.Warn("configuration looks wrong", "reason", hint.Line(w))
	}
}
