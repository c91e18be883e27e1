package connect_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// daemon is one process of a culvertd that keeps connections.
type daemon struct {
	kept *proxy.Resumption
	dial func(context.Context, string) (net.Conn, error)
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{kept: proxy.NewResumption(time.Minute), dial: func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(far, far) }()
		return near, nil
	}}
	t.Cleanup(func() { d.kept.Close() }) // a test may replace it
	return d
}

func (d *daemon) run(ctx context.Context, c proxy.Connection) {
	_ = proxy.NewDestination(proxy.DestinationConfig{
		Connection: c, Resume: d.kept, DialService: d.dial,
		DefaultService: func(list []string) (string, error) { return list[0], nil },
	}).Run(ctx)
}

// The reason that a Culvert gives for a connection's end reaches the operator: in the error of a dialled connection,
// and in an event for a local port, whose client cannot learn it.
func TestWhyAConnectionEnded(t *testing.T) {
	t.Parallel()
	refusing := func(context.Context, string) (net.Conn, error) { return nil, errors.New("it is down") }
	for name, tt := range map[string]struct {
		dial   func(context.Context, string) (net.Conn, error) // nil: an echo
		named  string                                          // the service, if it is not SSH
		stops  bool                                            // the first daemon stops in order; otherwise it vanishes
		reason connect.Reason
		want   string
	}{
		"the daemon is stopped":                 {stops: true, reason: connect.DeviceGone, want: "it was stopped, or all its places were taken"},
		"the daemon is replaced by another one": {reason: connect.DeviceGone, want: "pi-1 no longer knows the connection: culvertd was restarted"},
		"the service is down":                   {dial: refusing, reason: connect.ServiceRefused, want: "culvertd on pi-1 cannot connect to SSH"},
		"the service is written in small letters": {
			dial: refusing, named: "ssh", reason: connect.ServiceRefused, want: "culvertd on pi-1 cannot connect to ssh: is it called SSH there?",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := newDaemon(t), newDaemon(t)
			if tt.dial != nil {
				first.dial = tt.dial
			}
			stop := make(chan struct{})
			var c *cloud
			c = newCloud(t, func(ctx context.Context, cfg proxy.Connection) {
				stopped, cancel := context.WithCancel(ctx)
				go func() {
					<-stop
					cancel()
				}()
				first.run(stopped, cfg)
				// What the relay has not read of a websocket when the next one takes its place is lost.
				harness.Poll(20*time.Second, func() bool {
					return ctx.Err() != nil || c.Store.List("")[0].DestinationState.Status == tunnels.Disconnected
				})
				second.run(ctx, cfg)
			})
			cfg, heard := c.config(), &news{}
			cfg.Progress = heard.event
			service := cmp.Or(tt.named, "SSH")
			tunnel := openTunnel(t, cfg, service)
			connectTo, leave, served := serveLocally(t, tunnel, service)
			client := connectTo()
			dialled := dial(t, tunnel, service)
			if tt.dial == nil {
				for _, conn := range []net.Conn{client, dialled} {
					talk(t, conn, "hello")
				}
				if tt.stops {
					close(stop)
				} else {
					c.Relay.Faults().Cut(relay.Target{Side: tunnels.Destination})
				}
			}
			_ = dialled.SetReadDeadline(time.Now().Add(20 * time.Second))
			_, err := io.ReadAll(dialled)
			wantReason(t, err, tt.reason)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			eventually(t, "the client of the port is told about", func() bool { return strings.Contains(heard.String(), tt.want) })
			_ = client.Close()
			leave()
			<-served //nolint:errcheck // only the end counts
			if !tt.stops {
				close(stop)
			}
		})
	}
}

// limited is a target that its service's time limit ends.
type limited struct{ net.Conn }

var errTooLong = errors.New("open for too long")

func (limited) Expired() error { return errTooLong }

func (l limited) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if err != nil {
		err = errTooLong
	}
	return n, err
}

// A limit that ends a connection which has worked is no sign that the service is missing. One that leaves no room for a
// byte is.
func TestALimitThatEndsAConnection(t *testing.T) {
	t.Parallel()
	const said = "a limit on pi-1 has ended the connection to SSH"
	for name, tt := range map[string]struct {
		answer string
		kind   connect.Kind
	}{
		"it has worked":  {"hello", connect.Notice},
		"without a byte": {"", connect.ServiceMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			d.dial = func(context.Context, string) (net.Conn, error) {
				near, err := harness.DialHandler(func(c net.Conn) {
					_, _ = io.WriteString(c, tt.answer)
					_, _ = c.Read(make([]byte, 1)) // until its time is over
				})
				return limited{near}, err
			}
			c := newCloud(t, func(ctx context.Context, cfg proxy.Connection) { d.run(ctx, cfg) })
			cfg := c.config()
			events := make(chan connect.Event, 100)
			cfg.Progress = func(e connect.Event) { events <- e }
			tunnel := openTunnel(t, cfg, "SSH")
			connectTo, leave, served := serveLocally(t, tunnel, "SSH")
			client, dialled := connectTo(), dial(t, tunnel, "SSH")
			for _, conn := range []net.Conn{client, dialled} {
				hears(t, conn, tt.answer)
				_, _ = conn.Write([]byte("x"))
			}
			_, err := io.ReadAll(dialled)
			wantReason(t, err, connect.ServiceRefused)
			if hint := hint.Of(err); err == nil || err.Error() != said || !strings.Contains(hint, "max_duration") || !strings.Contains(hint, "idle_timeout") {
				t.Errorf("error %v, hint %q", err, hint)
			}
			_, _ = io.ReadAll(client)
			_ = client.Close()
			for late := time.After(20 * time.Second); ; {
				select {
				case e := <-events:
					if e.Text != said {
						continue
					}
					if e.Kind != tt.kind || e.Service != "SSH" {
						t.Errorf("an event of kind %d, want %d", e.Kind, tt.kind)
					}
				case <-late:
					t.Error("no event")
				}
				break
			}
			leave()
			<-served //nolint:errcheck // only the end counts
		})
	}
}
