package connect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
)

// A tunnel that is about to expire is replaced under its connections: nothing ends, one tunnel is left, and the user
// gets a message.
func TestATunnelThatExpiresIsReplacedUnderItsConnections(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	c := newCloud(t, d.run)
	cfg, heard := c.config(), &news{}
	cfg.Progress, cfg.Lifetime = heard.event, time.Minute
	connect.SetSuccessorLead(&cfg, time.Minute-time.Second)
	tunnel := openTunnel(t, cfg, "SSH")
	first := tunnel.ID()
	conn, other := dial(t, tunnel, "SSH"), dial(t, tunnel, "SSH")
	talk(t, conn, "hello")
	talk(t, other, "hello")
	second := ""
	eventually(t, "another tunnel takes its place", func() bool {
		open := c.open()
		second = tunnel.ID()
		return second != first && len(open) == 1 && open[0] == second
	})
	talk(t, conn, "and more")
	talk(t, other, "and more")
	talk(t, dial(t, tunnel, "SSH"), "something new")
	if s := d.kept.Stats(); s.Resumed < 2 {
		t.Errorf("the device resumed %d connections, want both", s.Resumed)
	}
	for _, want := range []string{"tunnel " + first + " ends in ", "your session goes on over tunnel " + second} {
		if !strings.Contains(heard.String(), want) {
			t.Errorf("%q is not told:\n%s", want, heard)
		}
	}
}
