package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/handover"
	"github.com/culvert-iot/culvert/agent/session"
)

// sdNotify sends systemd a state (sd_notify(3)). Without NOTIFY_SOCKET it does nothing.
func sdNotify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Debug("systemd cannot be notified", "error", err)
	}
}

// keptByManager lets the service manager keep connections while this process is replaced by the next.
func keptByManager(log *slog.Logger) session.HandOver {
	state, sockets, err := handover.Take()
	if err != nil {
		log.Warn("connections of the last process are lost", "error", err)
	}
	return session.HandOver{Limit: handover.Limit(), Put: handover.Put, State: state, Sockets: sockets}
}

// sdReloading announces a reload with the time that Type=notify-reload asks for.
func sdReloading() string { return daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec() }

// statusInterval is how often systemd learns the status at the least.
const statusInterval = 10 * time.Second

// heartbeat feeds systemd's watchdog and shows a line in systemctl status.
type heartbeat struct {
	log    *slog.Logger
	ticker *time.Ticker
	tick   <-chan time.Time
	state  string // what each beat begins with
	last   string
	stuck  string
}

func newHeartbeat(log *slog.Logger) *heartbeat {
	b := &heartbeat{log: log}
	interval := statusInterval
	switch limit, err := daemon.SdWatchdogEnabled(false); {
	case err != nil:
		log.Warn("systemd's watchdog setting cannot be understood", "error", err)
	case limit > 0:
		b.state = daemon.SdNotifyWatchdog
		interval = min(interval, limit/2)
	}
	b.ticker = time.NewTicker(interval)
	b.tick = b.ticker.C
	return b
}

func (b *heartbeat) stop() { b.ticker.Stop() }

// send is called with a status that the agent has just given, which proves that its locks are free, and with
// what it is stuck at, if anything. The watchdog is not fed then: systemd ends the daemon and starts a new one,
// which goes on with the same tunnels.
func (b *heartbeat) send(s agent.Status, stuck string) {
	state := b.state
	if stuck != "" {
		state = ""
		if b.stuck != stuck {
			b.log.Error("culvertd is stuck, the watchdog is no longer fed", "reason", stuck)
		}
	}
	b.stuck = stuck
	if line := oneLine(s); line != b.last {
		b.last = line
		if state != "" {
			state += "\n"
		}
		state += "STATUS=" + line
	}
	if state != "" {
		sdNotify(b.log, state)
	}
}

func oneLine(s agent.Status) string {
	connected, live := 0, 0
	for _, t := range s.Tunnels {
		if t.State == session.Ended {
			continue
		}
		live++
		if t.State == session.Connected {
			connected++
		}
	}
	if live == 0 {
		return fmt.Sprintf("mqtt %s, no tunnel", s.MQTT.State)
	}
	return fmt.Sprintf("mqtt %s, %d of %d tunnels connected", s.MQTT.State, connected, live)
}
