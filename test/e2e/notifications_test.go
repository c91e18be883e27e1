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
// still valid: only the service's answer does.
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

// One of two tunnels is closed while its notification is under way: the other is unaffected.
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

// TestNotificationsThatAreNone publishes invalid messages to the device's topic. The daemon drops each with one line
// that says why and quotes nothing of it; live tunnels are unaffected, and the next valid one works.
func TestNotificationsThatAreNone(t *testing.T) {
	t.Parallel()
	d := startDevice(t, sandbox.Config{})
	live := startPulse(t, connectTo(t, d.source, "ECHO"))
	// It is in every payload, and must be in no line of the log.
	const marker = "hunter2hunter2hunter2"
	with := func(name string, value any) string {
		n := map[string]any{"clientAccessToken": marker, "clientMode": "destination", "region": "eu-west-1", "services": []string{"ECHO"}}
		n[name] = value
		if value == nil {
			delete(n, name)
		}
		payload, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		return string(payload)
	}
	for _, test := range []struct{ name, payload, says string }{
		{"no JSON", marker, "not one JSON object"},
		{"half a notification", with("region", "x")[:60], ""}, // for the same reason, which is logged once
		{"two notifications", with("region", "x") + with("region", "x"), ""},
		{"a list of notifications", "[" + with("region", "x") + "]", ""},
		{"nothing", "", ""},
		{"null", "null", ""},
		{"brackets without end", strings.Repeat("[", 16<<10), ""},
		{"for the other side", with("clientMode", "source"), "not for the device's side"},
		{"of no side", with("clientMode", nil), "clientMode is missing"},
		{"a side that is a number", with("clientMode", 1), "clientMode is not a string"},
		{"no token", with("clientAccessToken", nil), "clientAccessToken is missing"},
		{"a token that adds a header", with("clientAccessToken", marker+"\r\nHost: elsewhere"), "clientAccessToken is not 1 to 4096 printable characters"},
		{"a token of 4,097 characters", with("clientAccessToken", strings.Repeat("x", 4097)), ""},
		{"a region that names another host", with("region", "eu-west-1.elsewhere.example/"+marker), "region is not 1 to 64 characters of a-z, 0-9 and -"},
		{"no region", with("region", nil), "region is missing"},
		{"a service with a line end", with("services", []string{"ECHO\n" + marker}), "services[0] is not 1 to 128 characters"},
		{"services that are none", with("services", marker), "services is not an array of strings"},
		{"a thousand services", with("services", make([]string, 1000)), "services has 1000 entries"},
		{"more than 16 KiB", with("extra", strings.Repeat(marker, 800)), "too long"},
		{"as much as AWS lets through", with("extra", strings.Repeat("x", 127<<10)), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			mark := d.daemon.mark()
			if _, err := d.box.Broker.Publish(notifyTopic, []byte(test.payload), 1); err != nil {
				t.Fatal(err)
			}
			if test.says != "" {
				line := d.daemon.waitLogFrom(t, mark, "notification dropped", 10*time.Second)
				if !strings.Contains(line, "WARN") || !strings.Contains(line, test.says) {
					t.Errorf("the log says %s, want %q", line, test.says)
				}
			}
		})
	}
	mark := d.daemon.mark()
	good := openTunnel(t, d.box, d.daemon, "ECHO")
	d.daemon.waitLogFrom(t, mark, "tunnel connected "+sessionOf(good.DestinationToken), 10*time.Second)
	live.lived(t, "notifications that are none")
	if log := d.daemon.log(); strings.Contains(log, marker) || strings.Count(log, "tunnel accepted") != 2 {
		t.Error("something of what was dropped is in the log, or was taken for a token")
	}
}
