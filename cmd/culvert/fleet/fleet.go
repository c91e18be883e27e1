//go:build unix

package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/sandbox"
)

// joining bounds the agents that connect at once: the first handshakes of a process are its costliest.
const joining = 32

// Options are what a fleet is made of beside its plan.
type Options struct {
	// Devices are the names of things beside those of the plan, whose devices run.
	Devices []string
	// OwnServices gives each device a web server and, if OpenSSH's server is installed, ssh. Without it the devices have
	// the services of the sandbox's configuration.
	OwnServices bool
	// Logger gets the fleet's errors; the agents' own logs are dropped. Required.
	Logger *slog.Logger
}

// Fleet is a set of devices. Do not change its fields.
type Fleet struct {
	// SSHConfig is the path of a configuration with which ssh trusts the devices and they trust it; "" if they have no
	// ssh of their own.
	SSHConfig string
	// NoSSH says why the devices have no ssh of their own; "" if they have it, or were not meant to.
	NoSSH string

	box      *sandbox.Sandbox
	log      *slog.Logger
	services *serviceHost // nil: those of the sandbox's configuration
	tasks    sync.WaitGroup
	stop     context.CancelFunc
}

// Start adds the plan's things to a sandbox and returns when the running ones can be reached. Close or the end of ctx
// ends them.
func Start(ctx context.Context, box *sandbox.Sandbox, plan Plan, o Options) (*Fleet, error) {
	ctx, stop := context.WithCancel(ctx)
	f := &Fleet{box: box, log: o.Logger, stop: stop}
	if o.OwnServices {
		f.services = newServiceHost(ctx, box.Dir, o.Logger)
		f.SSHConfig, f.NoSSH = f.services.sshConfig, f.services.noSSH
	}
	if err := f.join(ctx, append(named(o.Devices), plan.list()...)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close ends the devices and waits for them, for a few seconds at most.
func (f *Fleet) Close() {
	f.stop()
	f.tasks.Wait()
	if f.services != nil {
		f.services.close()
	}
}

// join registers things and starts the agents that the plan runs.
func (f *Fleet) join(ctx context.Context, things []thing) error {
	var mu sync.Mutex
	var failures []error
	places := make(chan struct{}, joining)
	var joins sync.WaitGroup
	for _, t := range things {
		f.box.Registry.Add(t.name, t.attributes)
		for _, g := range t.groups {
			f.box.Registry.AddToGroup(g, t.name)
		}
		if t.fate == never {
			continue
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			joins.Wait()
			return context.Cause(ctx)
		}
		joins.Go(func() {
			defer func() { <-places }()
			if err := f.start(ctx, t); err != nil {
				mu.Lock()
				failures = append(failures, fmt.Errorf("device %s: %w", t.name, err))
				mu.Unlock()
			}
		})
	}
	joins.Wait()
	if len(failures) > 3 {
		failures = failures[:3]
	}
	return errors.Join(failures...)
}

// start runs a device's agent, and returns when it has subscribed, or has left again if the plan says so.
func (f *Fleet) start(ctx context.Context, t thing) error {
	cfg, err := f.config(t)
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancel(ctx)
	a := agent.New(cfg, agent.Options{Logger: slog.New(slog.DiscardHandler)})
	ended := make(chan error, 1)
	f.tasks.Go(func() {
		defer leave()
		err := a.Run(ctx)
		if err != nil && ctx.Err() == nil {
			f.log.Error("a device of the fleet has ended", "thing", t.name, "error", err)
		}
		ended <- err
	})
	select {
	case <-a.Subscribed():
	case err := <-ended:
		return err
	}
	if t.fate == left {
		leave()
		return <-ended
	}
	return nil
}

// config is the configuration of a device.
func (f *Fleet) config(t thing) (*config.Config, error) {
	files, err := f.box.Device(t.name)
	if err != nil {
		return nil, err
	}
	f.box.Registry.Add(t.name, t.attributes) // Device added it without
	cfg, err := config.Load(files.ConfigFile)
	if err != nil {
		return nil, err
	}
	cfg.Control.Socket = "" // the devices are this process: no command asks one of them for its status
	if f.services != nil {
		if cfg.Services, err = f.services.forDevice(t.name); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}
