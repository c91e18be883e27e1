package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// publish sends the notification of a token, as often and as late as the test wants.
func (d *device) publish(t testing.TB, token string) {
	t.Helper()
	payload, err := json.Marshal(map[string]any{
		"clientAccessToken": token, "clientMode": "destination", "region": "eu-west-1", "services": []string{"ECHO"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.box.Broker.Publish(notifyTopic, payload, 1); err != nil {
		t.Fatal(err)
	}
}

// MQTT promises no order and may deliver twice. A notification says neither which tunnel it is for nor whether it is
// still good: only the service's answer tells.
func TestNotificationsOutOfOrderRepeatedAndStale(t *testing.T) {
	t.Parallel()
	d := startDevice(t, sandbox.Config{})
	first := d.tunnel.DestinationToken
	d.box.SetNotifications(sandbox.Notifications{Lose: 2})
	older := rotate(t, d.box, d.daemon, d.tunnel, "ECHO")
	newer := rotate(t, d.box, d.daemon, d.tunnel, "ECHO")

	mark := d.daemon.mark()
	d.publish(t, newer)
	d.daemon.waitLogFrom(t, mark, "tunnel connected "+sessionOf(newer), 10*time.Second)
	d.comesBack(t, 10*time.Second)
	live := startPulse(t, connectTo(t, d.source, "ECHO"))
	d.publish(t, older) // which is of no use any more
	d.daemon.waitLogFrom(t, mark, "tunnel ended "+sessionOf(older), 10*time.Second)
	line := d.daemon.waitLogFrom(t, mark, "tunnel ended "+sessionOf(first), 20*time.Second)
	if !strings.Contains(line, "INFO") {
		t.Errorf("the end of a rotated token is no trouble: %s", line)
	}

	repeat := func() {
		t.Helper()
		mark := d.daemon.mark()
		for range 5 {
			for _, token := range []string{newer, older, first} {
				d.publish(t, token)
			}
		}
		// What is sent behind them on the same way says that they were looked at.
		last := openTunnel(t, d.box, d.daemon, "ECHO")
		d.daemon.waitLogFrom(t, mark, "tunnel connected "+sessionOf(last.DestinationToken), 10*time.Second)
		for line := range strings.SplitSeq(d.daemon.log()[mark:], "\n") {
			if strings.Contains(line, "WARN") || strings.Contains(line, "tunnel accepted") && !strings.Contains(line, sessionOf(last.DestinationToken)) {
				t.Errorf("a repeated notification did something: %s", line)
			}
		}
		if err := d.box.Store.Close(last.Tunnel.ID, false); err != nil {
			t.Fatal(err)
		}
	}
	repeat()
	live.lived(t, "15 repeated and stale notifications")

	// A restart forgets none of it.
	d.daemon.stop(t)
	d.daemon = startDaemon(t, d.config)
	d.daemon.hide(first, older, newer)
	d.daemon.waitLog(t, "mqtt subscribed", 20*time.Second)
	d.daemon.waitLog(t, "tunnel connected "+sessionOf(newer), 20*time.Second)
	repeat()
	d.comesBack(t, 10*time.Second)
}

// One of two tunnels is closed while its notification is under way: the other never notices.
func TestAStaleNotificationEndsAtInfo(t *testing.T) {
	t.Parallel()
	d := startDevice(t, sandbox.Config{})
	live := startPulse(t, connectTo(t, d.source, "ECHO"))
	d.box.SetNotifications(sandbox.Notifications{Lose: 1})
	stale, err := d.box.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"ECHO"}}})
	if err != nil {
		t.Fatal(err)
	}
	d.daemon.hide(stale.DestinationToken, stale.SourceToken)
	if err := d.box.Store.Close(stale.Tunnel.ID, false); err != nil {
		t.Fatal(err)
	}
	mark := d.daemon.mark()
	d.publish(t, stale.DestinationToken)
	line := d.daemon.waitLogFrom(t, mark, "tunnel ended "+sessionOf(stale.DestinationToken), 10*time.Second)
	if !strings.Contains(line, "INFO") || !strings.Contains(line, "the service refused the token") {
		t.Errorf("a stale notification: %s", line)
	}
	if log := d.daemon.log()[mark:]; strings.Contains(log, "WARN") || strings.Contains(log, "ERROR") {
		t.Errorf("a stale notification is no trouble:\n%s", log)
	}
	live.lived(t, "a stale notification")
}
