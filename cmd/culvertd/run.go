package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/footprint"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/tlsdial"
	"github.com/culvert-iot/culvert/internal/version"
)

// errLogged says that the log has told already why the daemon failed.
var errLogged = errors.New("see the log")

// run is the daemon.
func (p *program) run(args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	path := flags.String("config", config.DefaultPath, "")
	if done, err := p.parse(flags, args); done || err != nil {
		return err
	}
	cfg, err := config.Load(*path)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	lines := newLogQueue(p.err)
	defer lines.close()
	log := newLogger(lines, cfg.Log.Format, level, !underSystemd())
	lines.lost = func(n int) {
		log.Warn("log lines lost, their reader did not keep up", "suppressed", n)
	}

	tlsdial.SetLogger(log)

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	// The end of the log's reader must not end the tunnels.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	told := make(chan struct{})
	quiet := context.AfterFunc(ctx, func() {
		defer close(told)
		stop() // a second signal kills
		sdNotify(log, "STOPPING=1\nSTATUS=stopping")
		log.Info("culvertd stopping")
	})

	ready := make(chan struct{})
	memory := newTrimmer(footprint.Trim)
	a := agent.New(cfg, agent.Options{
		Logger: log, Level: level, Ready: func() { close(ready) }, Settled: memory.settled, Connection: memory.connection,
		MaxConnections: limitMemory(), HandOver: keptByManager(log),
	})
	endpoint := cfg.MQTT.Address()
	if cfg.MQTT.Disabled {
		endpoint = "disabled"
	}
	log.Info("culvertd started", "thing", cfg.ThingName, "endpoint", endpoint, "client_id", cfg.MQTT.ClientID,
		"services", serviceNames(cfg), "status", version.Get().String())

	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ready:
			supervise(ctx, log, a, hup, func() { reload(log, a, *path) })
		case <-ctx.Done():
		}
	}()
	err = a.Run(ctx)
	if !quiet() {
		<-told // the word that it stops must not come after its end
	}
	stop()
	<-done
	if err != nil {
		facts := []any{"error", err}
		if advice := hint.Of(err); advice != "" {
			facts = append(facts, "hint", advice)
		}
		log.Error("culvertd failed", facts...)
		return errLogged
	}
	log.Info("culvertd stopped")
	return nil
}

// reload reads the configuration again. A broken one changes nothing.
func reload(log *slog.Logger, a *agent.Agent, path string) {
	cfg, err := config.Load(path)
	if err != nil {
		log.Error("configuration not reloaded, the old one stays", "error", hint.Line(err))
		return
	}
	restart := a.Reload(cfg)
	log.Info("configuration reloaded", "services", serviceNames(cfg))
	if len(restart) > 0 {
		log.Warn("configuration has changes that need a restart", "reason", strings.Join(restart, ", "))
	}
}

func serviceNames(cfg *config.Config) []string {
	names := []string{}
	for _, s := range cfg.Services {
		if !s.Disabled {
			names = append(names, s.Name)
		}
	}
	return names
}
