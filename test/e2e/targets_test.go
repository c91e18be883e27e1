package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// listenOn answers every byte on any kind of address.
func listenOn(t *testing.T, network, address string) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("this machine has no %s %s: %v", network, address, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var tasks sync.WaitGroup
	go func() { _ = harness.Serve(l, &tasks, harness.Echo) }()
	return l.Addr()
}

func TestTargetsOfEveryKind(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(listenOn(t, "tcp", "127.0.0.1:0").String())
	targets := map[string]string{
		"PORT":  port,
		"NAMED": "localhost:" + port,
		"UNIX":  "unix:" + listenOn(t, "unix", filepath.Join(shortDir(t), "app.sock")).String(),
		"IPV6":  listenOn(t, "tcp", "[::1]:0").String(),
		"OTHER": listenOn(t, "tcp", "127.0.0.9:0").String(), // another host, as far as the daemon can tell
		"DOWN":  "127.0.0.1:1",
	}
	box := startSandbox(t, sandbox.Config{Services: targets, MaxServices: len(targets)})
	d, _ := startSubscribed(t, box)
	var names []string
	for name := range targets {
		names = append(names, name)
	}
	tunnel := openTunnel(t, box, d, names...)
	d.waitLog(t, "tunnel connected", 5*time.Second)
	source := startSource(t, box, tunnel.SourceToken, proxy.V3)
	for name := range targets {
		if got, want := answers(source, name, 5*time.Second), name != "DOWN"; got != want {
			t.Errorf("service %s at %s answers: %v, want %v", name, targets[name], got, want)
		}
	}
	// A refused port is reported at once, with the service, the target and what to do.
	start := time.Now()
	c := connectTo(t, source, "DOWN")
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(start) > time.Second {
		t.Errorf("a connection to a refused port ended with %v after %v, want its end at once", err, time.Since(start))
	}
	if line := d.waitLog(t, "connection refused", time.Second); !strings.Contains(line, "DOWN") || !strings.Contains(line, "127.0.0.1:1") {
		t.Errorf("the refusal is not explained: %s", line)
	}
}

// TestEndpointsByIPv6 has broker and data endpoint at IPv6 addresses.
func TestEndpointsByIPv6(t *testing.T) {
	t.Parallel()
	listenOn(t, "tcp", "[::1]:0") // or there is no IPv6 here
	d := startDevice(t, sandbox.Config{Listen: "::1"})
	if s := d.daemon.status(t); !strings.HasPrefix(s.MQTT.Endpoint, "[::1]:") || !strings.HasPrefix(s.Tunnels[0].Endpoint, "wss://[::1]:") {
		t.Errorf("connected to %s and %s", s.MQTT.Endpoint, s.Tunnels[0].Endpoint)
	}
}

// TestMQTTOnPort443 needs the real port number, for that is what asks for ALPN.
func TestMQTTOnPort443(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandboxOn443(t))
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, configWith(t, files.ConfigFile, box.MQTT, box.MQTTALPN))
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	openTunnel(t, box, d, "ECHO")
	d.waitLog(t, "tunnel connected", 5*time.Second)
}

func sandboxOn443(t *testing.T) sandbox.Config {
	t.Helper()
	const address = "127.0.0.1:443"
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("cannot listen on %s: %v", address, err)
	}
	_ = l.Close()
	return sandbox.Config{Ports: sandbox.Ports{MQTTALPN: 443}, Services: map[string]string{"ECHO": echoServer(t)}}
}
