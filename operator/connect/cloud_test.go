package connect_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

func TestMain(m *testing.M) {
	harness.Parallel(48)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
	}), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func newCloud(t *testing.T, device func(context.Context, proxy.Connection)) *cloud {
	t.Helper()
	return newCloudThat(t, sandbox.Config{}, device)
}

func newCloudThat(t *testing.T, cfg sandbox.Config, device func(context.Context, proxy.Connection)) *cloud {
	t.Helper()
	cfg.Dir = t.TempDir()
	c, err := startCloud(cfg, device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range c.Relay.Violations() {
			t.Errorf("the relay saw a violation: %v", &v)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// news collects the events of a config.
type news struct {
	mu    sync.Mutex
	lines []string
}

func (l *news) event(e connect.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, e.Text)
}

func (l *news) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func openTunnel(t *testing.T, cfg connect.Config, services ...string) *connect.Tunnel {
	t.Helper()
	tunnel, err := connect.Open(within(t, 30*time.Second), cfg, "pi-1", services...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tunnel.Close() })
	return tunnel
}

// talk sends a line and wants it back.
// serveLocally serves a service on a local port until stop is called, behind a listener that wrap may change. served gets
// Serve's error.
func serveLocally(t *testing.T, tunnel *connect.Tunnel, service string, wrap ...func(net.Listener) net.Listener) (connectTo func() net.Conn, stop func(), served <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrap {
		l = w(l)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tunnel.Serve(ctx, service, l) }()
	return func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if errors.Is(err, syscall.ECONNRESET) { // it was accepted, and reset before this end noticed
			conn, _ = net.Pipe()
			_ = conn.Close()
			return conn
		}
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}, cancel, ended
}

func talk(t *testing.T, c net.Conn, line string) {
	t.Helper()
	if err := says(c, line); err != nil {
		t.Fatal(err)
	}
}

func says(c net.Conn, line string) error {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, line); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != line {
		return fmt.Errorf("got %q, %w; want %q", got, err, line)
	}
	return nil
}

func dial(t *testing.T, tunnel *connect.Tunnel, service string) net.Conn {
	t.Helper()
	c, err := tunnel.Dial(within(t, 20*time.Second), service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// leaveTunnel leaves an open tunnel whose source was connected before.
func (c *cloud) leaveTunnel(t *testing.T) string {
	t.Helper()
	opened, err := c.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	source := proxy.NewSource(proxy.SourceConfig{Connection: c.connection(opened.SourceToken), Form: proxy.V3})
	go func() { _ = source.Run(ctx) }()
	<-source.Ready()
	cancel()
	<-source.Done()
	eventually(t, "the source has left", func() bool {
		d, err := c.Store.Describe(opened.Tunnel.ID)
		return err == nil && d.SourceState.Status == tunnels.Disconnected
	})
	return opened.Tunnel.ID
}

func (c *cloud) open() (ids []string) {
	for _, t := range c.Store.List("pi-1") {
		if t.Status == tunnels.Open {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

func wantReason(t *testing.T, err error, want connect.Reason) {
	t.Helper()
	if e, ok := errors.AsType[*connect.Error](err); !ok || e.Reason != want {
		t.Errorf("error %v, want reason %d", err, want)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !harness.Poll(20*time.Second, done) {
		t.Fatal("not in time: " + what)
	}
}
