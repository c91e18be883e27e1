package e2e

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/sandbox"
)

// withoutIPv4 takes the network's only IPv4 address away.
func (n *network) withoutIPv4(t *testing.T) {
	t.Helper()
	n.configure(t, unix.SIOCSIFADDR, unix.AF_INET) // a sockaddr_in of 0.0.0.0 removes the address
	n.do(func() {
		if _, err := net.DialTimeout("tcp4", "127.0.0.1:1", time.Second); err == nil || !strings.Contains(err.Error(), "unreachable") {
			t.Errorf("IPv4 still works: %v", err)
		}
	})
}

// TestANetworkWithoutIPv4 runs the whole job where there is no IPv4 at all, not even on the loopback interface: broker,
// tunnel service and the service's target have IPv6 addresses.
func TestANetworkWithoutIPv4(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.up(t, true)
	n.withoutIPv4(t)
	var (
		box  *sandbox.Sandbox
		err  error
		echo net.Listener
	)
	n.do(func() {
		if echo, err = net.Listen("tcp", "[::1]:0"); err != nil {
			return
		}
		_, port, _ := net.SplitHostPort(echo.Addr().String())
		box, err = sandbox.Start(context.Background(), sandbox.Config{
			Dir: shortDir(t), Listen: "::1", Services: map[string]string{"ECHO": "[::1]:" + port},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close(); _ = echo.Close() })
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	culvertd(t) // built before, and not on the network's thread
	var d *daemon
	n.do(func() { d = startDaemon(t, files.ConfigFile) })
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	tunnel := openTunnel(t, box, d, "ECHO")
	sourceBy(t, box, tunnel.SourceToken, func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(address)
		return n.dial(ctx, network, "[::1]:"+port)
	})
}
