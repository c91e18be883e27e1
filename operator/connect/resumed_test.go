package connect_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// A device may have a connection again before this side has reported the link.
func TestConnectionsThatGoOnAreCountedHoweverFastTheDeviceIs(t *testing.T) {
	t.Parallel()
	c := newCloud(t, keepingDevice(time.Minute, echo))
	cfg := c.config()
	resumed := make(chan connect.Event, 10)
	cfg.Progress = func(e connect.Event) {
		if e.Kind == connect.Resumed {
			resumed <- e
		}
	}
	var lost atomic.Bool
	var tunnel *connect.Tunnel
	release := make(chan func(), 1)
	dialer := net.Dialer{}
	cfg.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if lost.CompareAndSwap(true, false) {
			release <- connect.HoldBackPublishing(tunnel)
		}
		return dialer.DialContext(ctx, network, address)
	}
	tunnel = openTunnel(t, cfg, "SSH")
	conn := dial(t, tunnel, "SSH")
	talk(t, conn, "before")
	lost.Store(true)
	c.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
	publish := <-release
	err := says(conn, "the device has it again")
	publish()
	if err != nil {
		t.Fatal(err)
	}
	if e := <-resumed; e.Connections != 1 || e.Text != "connected again, your session goes on" {
		t.Errorf("%d connections: %s", e.Connections, e.Text)
	}
}
