package main

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/session"
)

// systemdSocket stands in for systemd and returns what it is told.
func systemdSocket(t *testing.T) (told func() []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() []string {
		var all []string
		buf := make([]byte, 4096)
		for {
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			n, err := conn.Read(buf)
			if err != nil {
				return all
			}
			all = append(all, string(buf[:n]))
		}
	}
}

func TestTheHeartbeatFeedsTheWatchdogAndTellsTheStatusWhenItChanges(t *testing.T) {
	told := systemdSocket(t)
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", "")
	b := newHeartbeat(slog.New(slog.DiscardHandler))
	defer b.stop()
	quiet := agent.Status{MQTT: agent.MQTTStatus{State: agent.Connecting}}
	busy := agent.Status{MQTT: agent.MQTTStatus{State: agent.Subscribed}, Tunnels: []session.Status{
		{State: session.Connected}, {State: session.Waiting}, {State: session.Ended},
	}}
	for _, s := range []agent.Status{quiet, quiet, busy, busy} {
		b.send(s, "")
	}
	want := []string{
		"WATCHDOG=1\nSTATUS=mqtt connecting, no tunnel", "WATCHDOG=1",
		"WATCHDOG=1\nSTATUS=mqtt subscribed, 1 of 2 tunnels connected", "WATCHDOG=1",
	}
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestADaemonThatIsStuckDoesNotFeedTheWatchdog(t *testing.T) {
	told := systemdSocket(t)
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", "")
	b := newHeartbeat(slog.New(slog.DiscardHandler))
	defer b.stop()
	s := agent.Status{MQTT: agent.MQTTStatus{State: agent.Connecting}}
	for _, stuck := range []string{"", "connect to the MQTT broker", "connect to the MQTT broker", ""} {
		b.send(s, stuck)
	}
	want := []string{"WATCHDOG=1\nSTATUS=mqtt connecting, no tunnel", "WATCHDOG=1"}
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithoutAWatchdogOnlyChangesAreTold(t *testing.T) {
	told := systemdSocket(t)
	t.Setenv("WATCHDOG_USEC", "")
	b := newHeartbeat(slog.New(slog.DiscardHandler))
	defer b.stop()
	for range 3 {
		b.send(agent.Status{MQTT: agent.MQTTStatus{State: agent.Connected}}, "")
	}
	if diff := cmp.Diff([]string{"STATUS=mqtt connected, no tunnel"}, told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
