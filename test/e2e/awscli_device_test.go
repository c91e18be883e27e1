package e2e

import (
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// TestAWSCLIAndTheDevice has the AWS CLI open, rotate, describe and close a tunnel of a running daemon.
func TestAWSCLIAndTheDevice(t *testing.T) {
	t.Parallel()
	d := startDevice(t, sandbox.Config{})
	c := findAWSCLI(t)
	c.use(t, d.box)
	to := []string{"--destination-config", "thingName=pi-1,services=ECHO"}
	token := func(o object, name string) string {
		t.Helper()
		s, _ := o[name].(string)
		d.daemon.hide(s)
		return s
	}
	opened := c.call(t, append([]string{"open-tunnel"}, to...)...)
	first, id := token(opened, "destinationAccessToken"), opened["tunnelId"].(string)
	d.daemon.waitLog(t, "tunnel connected "+sessionOf(first), 10*time.Second)
	source := startSource(t, d.box, token(opened, "sourceAccessToken"), proxy.V3)
	eventually(t, 5*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })

	rotated := c.call(t, append([]string{"rotate-tunnel-access-token", "--tunnel-id", id, "--client-mode", "DESTINATION"}, to...)...)
	second := token(rotated, "destinationAccessToken")
	d.daemon.waitLog(t, "tunnel connected "+sessionOf(second), 10*time.Second)
	eventually(t, 5*time.Second, "the rotated tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })

	described := c.call(t, "describe-tunnel", "--tunnel-id", id)["tunnel"].(object)
	for _, side := range []string{"sourceConnectionState", "destinationConnectionState"} {
		if state := described[side].(object)["status"]; state != "CONNECTED" {
			t.Errorf("describe-tunnel: %s %v, want CONNECTED", side, state)
		}
	}
	c.call(t, "close-tunnel", "--tunnel-id", id)
	for _, ended := range []string{first, second} {
		d.daemon.waitLog(t, "tunnel ended "+sessionOf(ended), 10*time.Second)
	}
}
