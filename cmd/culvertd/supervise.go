package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/culvert-iot/culvert/agent"
)

// readyWithin is how long the service manager waits for the subscription. Units that wait for this service then
// start anyway: a device whose network is down must still boot, and its packages be upgraded.
const readyWithin = 30 * time.Second

// supervised is what the service manager hears about.
type supervised interface {
	Status() agent.Status
	Subscribed() <-chan struct{}
	Stuck() string
}

// supervise reports the agent's state to systemd, and calls reload on SIGHUP, until ctx ends.
func supervise(ctx context.Context, log *slog.Logger, a supervised, hup <-chan os.Signal, reload func()) {
	beat := newHeartbeat(log)
	defer beat.stop()
	late := time.NewTimer(readyWithin)
	defer late.Stop()
	subscribed, ready := a.Subscribed(), false
	tellReady := func() {
		if !ready {
			ready = true
			sdNotify(log, "READY=1")
		}
	}
	for {
		beat.send(a.Status(), a.Stuck())
		select {
		case <-ctx.Done():
			return
		case <-beat.tick:
		case <-subscribed:
			subscribed = nil
			tellReady()
		case <-late.C:
			tellReady()
		case <-hup:
			if !ready { // the end of a reload would be taken for that of the start
				reload()
				continue
			}
			sdNotify(log, sdReloading())
			reload()
			sdNotify(log, "READY=1")
		}
	}
}
