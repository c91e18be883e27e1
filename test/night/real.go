package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// AWS's limits. The data endpoint's is of an old page of the documentation, the broker's is the default quota of CONNECTs
// a second for an account.
const (
	dataLimit    = 10
	connectLimit = 500
)

// Moment is one second of a night with real agents.
type Moment struct {
	Second  int `json:"second"`  // since the outage began
	MQTT    int `json:"mqtt"`    // clients that are connected
	Tunnels int `json:"tunnels"` // destinations that are connected
	Dials   int `json:"dials"`   // to the data endpoint, in this second
}

// Night is a measurement with real agents.
type Night struct {
	Agents  int      `json:"agents"`
	Outage  int      `json:"outage_seconds"`
	Limit   int      `json:"limit"`
	Moments []Moment `json:"moments"`
}

// region is the way from the agents to the sandbox, which an outage can block.
type region struct {
	gone  atomic.Bool
	relay string // host:port
	dials atomic.Int64
}

func (r *region) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == r.relay {
		r.dials.Add(1)
	}
	if r.gone.Load() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// measure runs agents with a tunnel each through an outage, until all are back.
func measure(ctx context.Context, agents int, outage time.Duration) (*Night, error) {
	box, err := sandbox.Start(ctx, sandbox.Config{Things: []string{"dev-1"}})
	if err != nil {
		return nil, err
	}
	defer box.Close()
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	way := &region{relay: box.RelayURL[len("wss://"):]}
	for i := range agents {
		thing := fmt.Sprintf("dev-%d", i+1)
		if err := startAgent(ctx, &running, box, thing, way); err != nil {
			return nil, fmt.Errorf("%s: %w", thing, err)
		}
		if _, err := box.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: thing, Services: []string{"SSH"}}}); err != nil {
			return nil, err
		}
	}
	night := &Night{Agents: agents, Outage: int(outage / time.Second), Limit: dataLimit}
	for night.now(box, way, 0).Tunnels < agents {
		if err := wait(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(os.Stderr, "night: %d agents have a tunnel each; the outage begins\n", agents)
	began := time.Now()
	way.gone.Store(true)
	box.Broker.Stop()
	box.Relay.Faults().DropAll()
	back := false
	way.dials.Store(0)
	for second := 1; ; second++ {
		if err := wait(ctx, time.Until(began.Add(time.Duration(second)*time.Second))); err != nil {
			return nil, err
		}
		if !back && time.Since(began) >= outage {
			back = true
			box.Broker.SetBehaviour(broker.Behaviour{ConnectLimit: connectLimit})
			box.Relay.Faults().Limit(dataLimit)
			if err := box.Broker.Restart(); err != nil {
				return nil, err
			}
			way.gone.Store(false)
		}
		second = max(second, int(time.Since(began)/time.Second)) // the machine may have been busy
		m := night.now(box, way, second)
		night.Moments = append(night.Moments, m)
		if back && m.Tunnels == agents && m.MQTT == agents {
			return night, nil
		}
		if time.Since(began) > outage+time.Hour {
			return night, errors.New("not all are back after an hour")
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startAgent starts an agent and returns when it is subscribed.
func startAgent(ctx context.Context, running *sync.WaitGroup, box *sandbox.Sandbox, thing string, way *region) error {
	files, err := box.Device(thing)
	if err != nil {
		return err
	}
	cfg, err := config.Load(files.ConfigFile)
	if err != nil {
		return err
	}
	cfg.Control.Socket = ""
	a := agent.New(cfg, agent.Options{Logger: slog.New(slog.DiscardHandler), Dial: way.dial})
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "night: %s: %v\n", thing, err)
		}
	})
	select {
	case <-a.Subscribed():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// now returns the current second's counts.
func (n *Night) now(box *sandbox.Sandbox, way *region, second int) Moment {
	m := Moment{Second: second, Dials: int(way.dials.Swap(0))}
	for _, c := range box.Broker.Clients() {
		if c.Connected {
			m.MQTT++
		}
	}
	for _, t := range box.Store.List("") {
		if t.DestinationState.Status == tunnels.Connected {
			m.Tunnels++
		}
	}
	return m
}

func (n *Night) write(path string) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644) //nolint:gosec // no secret
}
