package connect_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// A service counts as silent if it ends a connection that it has sent nothing on: whatever websocket that is on by then,
// whatever others of the service hear, and not if something else ends it.
func TestWhoIsSilent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		keep   time.Duration
		handle func(net.Conn)
		do     func(t *testing.T, c *cloud, connectTo func() net.Conn, goesOn <-chan struct{})
		ends   int // of connections
		silent bool
	}{
		"it has answered on another websocket": {
			keep: time.Minute, handle: talkative,
			do: func(t *testing.T, c *cloud, connectTo func() net.Conn, goesOn <-chan struct{}) {
				client := connectTo()
				hears(t, client, "hello")
				c.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
				<-goesOn
				_ = client.(*net.TCPConn).CloseWrite()
				_, _ = io.ReadAll(client)
				_ = client.Close()
			},
			ends: 1,
		},
		"it has answered another connection": {
			handle: func(c net.Conn) {
				if b := make([]byte, 1); read(c, b) && b[0] == 'a' { // is asked
					_, _ = c.Write([]byte("hello"))
					_, _ = c.Read(b)
				}
			},
			do: func(t *testing.T, _ *cloud, connectTo func() net.Conn, _ <-chan struct{}) {
				quiet, answered := connectTo(), connectTo()
				defer answered.Close()
				_, _ = io.WriteString(answered, "a")
				hears(t, answered, "hello")
				_, _ = io.WriteString(quiet, "b")
				_, _ = io.ReadAll(quiet)
				_ = quiet.Close()
			},
			ends: 1, silent: true,
		},
		"the link is lost": {
			handle: echo,
			do: func(t *testing.T, c *cloud, connectTo func() net.Conn, _ <-chan struct{}) {
				client, other := connectTo(), connectTo()
				defer client.Close()
				defer other.Close()
				talk(t, other, "both are there")
				c.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
				_, _ = io.ReadAll(client)
			},
			ends: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			d.kept = proxy.NewResumption(tt.keep)
			d.dial = func(context.Context, string) (net.Conn, error) {
				return harness.DialHandler(tt.handle)
			}
			c := newCloud(t, func(ctx context.Context, cfg proxy.Connection) { d.run(ctx, cfg) })
			cfg, heard := c.config(), &news{}
			goesOn := make(chan struct{}, 10)
			cfg.Progress = func(e connect.Event) {
				heard.event(e)
				if e.Kind == connect.Resumed && e.Connections > 0 {
					goesOn <- struct{}{}
				}
			}
			tunnel := openTunnel(t, cfg, "SSH")
			closed := make(chan struct{}, 10)
			connectTo, leave, served := serveLocally(t, tunnel, "SSH", func(l net.Listener) net.Listener { return closeListener{l, closed} })
			tt.do(t, c, connectTo, goesOn)
			for range tt.ends {
				select {
				case <-closed:
				case <-time.After(20 * time.Second):
					t.Fatal("the tunnel does not close the connection")
				}
			}
			connect.WaitForLooks(tunnel)
			if silent := strings.Contains(heard.String(), "SSH on pi-1 ended the connection without a byte"); silent != tt.silent {
				t.Errorf("said %v, want %v:\n%s", silent, tt.silent, heard)
			}
			leave()
			<-served //nolint:errcheck // only the end counts
		})
	}
}

// closeListener tells when the tunnel has closed a connection.
type closeListener struct {
	net.Listener

	closed chan<- struct{}
}

func (l closeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &closeConn{TCPConn: c.(*net.TCPConn), closed: sync.OnceFunc(func() { l.closed <- struct{}{} })}, nil
}

type closeConn struct {
	*net.TCPConn

	closed func()
}

func (c *closeConn) Close() error {
	defer c.closed()
	return c.TCPConn.Close()
}

func read(c net.Conn, b []byte) bool {
	_, err := io.ReadFull(c, b)
	return err == nil
}

func hears(t *testing.T, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v, want %q", got, err, want)
	}
}
