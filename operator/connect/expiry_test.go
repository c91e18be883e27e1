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

// --take-over is consent to end the session on one tunnel. When that tunnel is closed, the connections go on without taking
// another operator's.
func TestConsentToTakeOverIsForOneTunnel(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	c := newCloud(t, d.run)
	cfg, heard := c.config(), &news{}
	id := c.leaveTunnel(t)
	cfg.Progress, cfg.TakeOver = heard.event, true
	taker := openTunnel(t, cfg, "SSH")
	conn := dial(t, taker, "SSH")
	talk(t, conn, "hello")
	other := openTunnel(t, c.config(), "SSH")
	others := dial(t, other, "SSH")
	talk(t, others, "hello")
	if taker.ID() != id || other.ID() == id {
		t.Fatalf("the tunnels are %s and %s; %s was to be taken over", taker.ID(), other.ID(), id)
	}
	if err := c.Store.Close(id, false); err != nil {
		t.Fatal(err)
	}
	talk(t, conn, "and more")
	if taker.ID() == id || taker.ID() == other.ID() {
		t.Errorf("it goes on over tunnel %s; the closed one is %s and the other operator's %s\n%s", taker.ID(), id, other.ID(), heard)
	}
	talk(t, others, "and more")
	select {
	case <-other.Done():
		t.Errorf("the other operator lost the tunnel: %v", other.Err())
	default:
	}
}
