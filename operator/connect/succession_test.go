package connect_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// A tunnel was closed under its connections, and the control API fails at first: the connections go on all the same.
func TestASearchForAnotherTunnelIsRepeated(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]api.Fault{
		"the service fails":       {Operation: "OpenTunnel", Type: "InternalFailureException", Status: 500},
		"too many calls":          {Operation: "OpenTunnel", Count: 4}, // the client itself sends it 3 times
		"no list":                 {Operation: "ListTunnels", Type: "ServiceUnavailableException", Status: 503, Count: 4},
		"another server answered": {Operation: "OpenTunnel", Type: "UnknownError", Status: 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			c := newCloud(t, d.run)
			tunnel := openTunnel(t, c.config(), "SSH")
			first := tunnel.ID()
			conn := dial(t, tunnel, "SSH")
			talk(t, conn, "before")
			if err := c.API.Fail(fault); err != nil {
				t.Fatal(err)
			}
			if err := c.Store.Close(first, false); err != nil {
				t.Fatal(err)
			}
			talk(t, conn, "after")
			if open := c.open(); len(open) != 1 || open[0] != tunnel.ID() || tunnel.ID() == first {
				t.Errorf("open tunnels %v, and %s in use, want one other than %s", open, tunnel.ID(), first)
			}
			if pending := c.API.PendingFaults(); len(pending) > 0 {
				t.Errorf("never met %+v", pending)
			}
		})
	}
}

// lossy is a control API that loses the answer to one call of OpenTunnel, or more.
type lossy struct {
	connect.API

	lose  int32 // which one
	more  int32 // how many further ones
	calls atomic.Int32
	blind atomic.Bool            // since that one, tunnels cannot be listed
	late  atomic.Pointer[string] // if set, the tunnel of that one is not in a list before OpenTunnel is called again; its id
}

func (l *lossy) OpenTunnel(ctx context.Context, in *iot.OpenTunnelInput, opts ...func(*iot.Options)) (*iot.OpenTunnelOutput, error) {
	out, err := l.API.OpenTunnel(ctx, in, opts...)
	if n := l.calls.Add(1) - l.lose; n >= 0 && n <= l.more && err == nil {
		if n == 0 && l.late.Load() != nil {
			l.late.Store(out.TunnelId)
		}
		return nil, errLost
	}
	return out, err
}

func (l *lossy) ListTunnels(ctx context.Context, in *iot.ListTunnelsInput, opts ...func(*iot.Options)) (*iot.ListTunnelsOutput, error) {
	if l.calls.Load() >= l.lose && l.blind.Load() {
		return nil, errLost
	}
	out, err := l.API.ListTunnels(ctx, in, opts...)
	if late := l.late.Load(); late != nil && err == nil && l.calls.Load() == l.lose {
		out.TunnelSummaries = slices.DeleteFunc(out.TunnelSummaries, func(s types.TunnelSummary) bool { return *s.TunnelId == *late })
	}
	return out, err
}

var errLost = fmt.Errorf("read the response: %w", io.ErrUnexpectedEOF)

// A tunnel whose opening was not answered is found again, and neither paid for twice nor left open.
func TestATunnelWhoseOpeningWasNotAnsweredIsUsed(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]bool{"it can be rotated": false, "it cannot be rotated yet": true} {
		for _, fresh := range []bool{false, true} {
			for _, lose := range []int32{1, 2} {
				t.Run(fmt.Sprintf("%s, always a new one: %v, tunnel %d", name, fresh, lose), func(t *testing.T) {
					t.Parallel()
					d := newDaemon(t)
					c := newCloudThat(t, sandbox.Config{Behaviour: tunnels.Behaviour{RotateBeforeConnectFails: fails}}, d.run)
					cfg := c.config()
					api := &lossy{API: cfg.API, lose: lose}
					cfg.API, cfg.New = api, fresh
					var charged atomic.Int32
					cfg.Opened = func(string) { charged.Add(1) }
					tunnel := openTunnel(t, cfg, "SSH")
					conn := dial(t, tunnel, "SSH")
					talk(t, conn, "before")
					if lose == 2 {
						if err := c.Store.Close(tunnel.ID(), false); err != nil {
							t.Fatal(err)
						}
						talk(t, conn, "after")
					}
					if open := c.open(); len(open) != 1 || open[0] != tunnel.ID() {
						t.Errorf("open tunnels %v, want only %s", open, tunnel.ID())
					}
					if n := api.calls.Load(); n != lose && !fails {
						t.Errorf("OpenTunnel was called %d times, want one for each tunnel", n)
					}
					if err := tunnel.Close(); err != nil {
						t.Error(err)
					}
					if open := c.open(); len(open) > 0 {
						t.Errorf("left open: %v", open)
					}
					if told, all := charged.Load(), c.Store.List("pi-1"); int(told) != len(all) {
						t.Errorf("%d tunnels are said to be opened, want all %d", told, len(all))
					}
				})
			}
		}
	}
}

// A tunnel whose opening was not answered, and that is not looked for any more, is closed, or else the user learns of it.
func TestATunnelWhoseOpeningWasNotAnsweredIsNotForgotten(t *testing.T) {
	t.Parallel()
	const notice = "culvert list-tunnels shows it"
	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		c := newCloud(t, culvertDevice(echo))
		cfg, heard := c.config(), &news{}
		api := &lossy{API: cfg.API, lose: 1}
		api.blind.Store(true)
		cfg.API, cfg.Progress = api, heard.event
		if _, err := connect.Open(within(t, 20*time.Second), cfg, "pi-1", "SSH"); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error %v", err)
		}
		if n := strings.Count(heard.String(), notice); n != 1 {
			t.Errorf("%q is told %d times:\n%s", notice, n, heard)
		}
	})
	for name, seen := range map[string]bool{"when a session is left": true, "when a session is left without a list": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			c := newCloud(t, d.run)
			cfg, heard := c.config(), &news{}
			api := &lossy{API: cfg.API, lose: 2}
			api.blind.Store(true)
			cfg.API, cfg.Progress = api, heard.event
			tunnel := openTunnel(t, cfg, "SSH")
			talk(t, dial(t, tunnel, "SSH"), "before")
			if err := c.Store.Close(tunnel.ID(), false); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the answer is lost", func() bool { return strings.Contains(heard.String(), "no other tunnel yet") })
			if len(c.open()) != 1 {
				t.Fatalf("open tunnels %v, want the one whose opening was not answered", c.open())
			}
			api.blind.Store(!seen)
			if err := tunnel.Close(); err != nil {
				t.Error(err)
			}
			if open := c.open(); len(open) > 0 == seen {
				t.Errorf("open tunnels %v", open)
			}
			if told := strings.Contains(heard.String(), notice); told == seen {
				t.Errorf("told:\n%s", heard)
			}
		})
	}
}

// A tunnel whose opening was not answered may appear only when another one is in use. It is closed in the end.
func TestATunnelThatAppearsLateIsClosed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ lose, more int32 }{
		"another one is opened": {lose: 1}, "another one is opened for a session": {lose: 2},
		"another one is opened without an answer": {lose: 2, more: 1},
	} {
		for _, fresh := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, always a new one: %v", name, fresh), func(t *testing.T) {
				t.Parallel()
				d := newDaemon(t)
				c := newCloud(t, d.run)
				cfg, heard := c.config(), &news{}
				api := &lossy{API: cfg.API, lose: tt.lose, more: tt.more}
				api.late.Store(new(string))
				cfg.API, cfg.New, cfg.Progress = api, fresh, heard.event
				var charged atomic.Int32
				cfg.Opened = func(string) { charged.Add(1) }
				tunnel := openTunnel(t, cfg, "SSH")
				conn := dial(t, tunnel, "SSH")
				talk(t, conn, "before")
				if tt.lose > 1 {
					if err := c.Store.Close(tunnel.ID(), false); err != nil {
						t.Fatal(err)
					}
					talk(t, conn, "after")
				}
				if open := c.open(); len(open) != 2 {
					t.Fatalf("open tunnels %v, want the one in use and the one whose opening was not answered", open)
				}
				if err := tunnel.Close(); err != nil {
					t.Error(err)
				}
				if open := c.open(); len(open) > 0 {
					t.Errorf("left open: %v\n%s", open, heard)
				}
				if told, all := charged.Load(), c.Store.List("pi-1"); int(told) != len(all) {
					t.Errorf("%d tunnels are said to be opened, want all %d", told, len(all))
				}
			})
		}
	}
}

// What keeps a session from another tunnel for good ends it at once, and is said.
func TestWhatKeepsASessionFromAnotherTunnelIsSaid(t *testing.T) {
	t.Parallel()
	for kind, advice := range map[string]string{
		"LimitExceededException": "close tunnels that are not needed", "AccessDeniedException": "iot:OpenTunnel",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			c := newCloud(t, d.run)
			tunnel := openTunnel(t, c.config(), "SSH")
			talk(t, dial(t, tunnel, "SSH"), "before")
			if err := c.API.Fail(api.Fault{Operation: "OpenTunnel", Type: kind, Message: "so it is", Count: 100}); err != nil {
				t.Fatal(err)
			}
			if err := c.Store.Close(tunnel.ID(), false); err != nil {
				t.Fatal(err)
			}
			select {
			case <-tunnel.Done():
			case <-time.After(20 * time.Second):
				t.Fatal("the session goes on")
			}
			err := tunnel.Err()
			wantReason(t, err, connect.TunnelClosed)
			for _, want := range []string{"tunnel " + tunnel.ID() + " was closed", kind, "OpenTunnel", "so it is"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in %q", want, err)
				}
			}
			if !strings.Contains(hint.Of(err), advice) {
				t.Errorf("hint %q, want %q", hint.Of(err), advice)
			}
		})
	}
}

// move is a session that is about to move to another tunnel, to which the device does not come until it is released.
type move struct {
	*cloud

	tunnel      *connect.Tunnel
	conn        net.Conn // over the first tunnel
	heard       *news
	first, next string // tunnels
	release     func()
}

// moving starts one.
func moving(t *testing.T, change func(*connect.Config)) *move {
	t.Helper()
	d, released := newDaemon(t), make(chan struct{})
	var notified atomic.Int32
	m := &move{heard: &news{}, release: sync.OnceFunc(func() { close(released) })}
	m.cloud = newCloud(t, func(ctx context.Context, c proxy.Connection) {
		if notified.Add(1) > 1 {
			select {
			case <-released:
			case <-ctx.Done():
			}
		}
		d.run(ctx, c)
	})
	cfg := m.config()
	cfg.Progress, cfg.Lifetime = m.heard.event, time.Minute
	connect.SetSuccessorLead(&cfg, time.Minute-time.Second)
	if change != nil {
		change(&cfg)
	}
	m.tunnel = openTunnel(t, cfg, "SSH")
	m.first = m.tunnel.ID()
	m.conn = dial(t, m.tunnel, "SSH")
	talk(t, m.conn, "before")
	eventually(t, "another tunnel is opened", func() bool {
		for _, id := range m.open() {
			if id != m.first {
				m.next = id
			}
		}
		return m.next != ""
	})
	eventually(t, "the device is awaited there", func() bool { return strings.Count(m.heard.String(), "waiting for pi-1") == 2 })
	return m
}

// steal has another operator rotate the tokens of the next tunnel, and returns how it connects.
func (m *move) steal(t *testing.T) (connectTo func() (lost <-chan error)) {
	t.Helper()
	rotated, err := m.Store.Rotate(m.next, tunnels.RotateAll, &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH"}})
	if err != nil {
		t.Fatal(err)
	}
	return func() <-chan error {
		other := proxy.NewSource(proxy.SourceConfig{Connection: m.connection(rotated.SourceToken), Form: proxy.V3})
		ended := make(chan error, 1)
		m.tasks.Go(func() { ended <- other.Run(m.ctx) })
		select {
		case <-other.Ready():
		case <-other.Done():
		}
		return ended
	}
}

// wantLeft checks that the other operator has the next tunnel, also when this session is over.
func (m *move) wantLeft(t *testing.T, lost <-chan error) {
	t.Helper()
	if err := m.tunnel.Close(); err != nil {
		t.Error(err)
	}
	d, err := m.Store.Describe(m.next)
	if err != nil || d.Status != tunnels.Open || d.SourceState.Status != tunnels.Connected {
		t.Errorf("the other operator's tunnel: %+v, %v", d, err)
	}
	select {
	case err := <-lost:
		t.Errorf("the other operator lost the link: %v", err)
	default:
	}
}

// A tunnel that a session has opened to move on to looks unused while its device does not come, and another operator may
// take it. The session stays on its own.
func TestATunnelToMoveToMayBeTaken(t *testing.T) {
	t.Parallel()
	t.Run("before the device comes", func(t *testing.T) {
		t.Parallel()
		m := moving(t, nil)
		lost := m.steal(t)()
		m.release()
		eventually(t, "it is noticed", func() bool {
			return strings.Contains(m.heard.String(), "another operator has connected to tunnel "+m.next)
		})
		talk(t, m.conn, "after")
		if strings.Contains(m.heard.String(), "the link is lost") {
			t.Errorf("the link was given up for it:\n%s", m.heard)
		}
		m.wantLeft(t, lost)
	})
	t.Run("while the session leaves its own", func(t *testing.T) {
		t.Parallel()
		var dials atomic.Int32
		leaving, taken := make(chan struct{}), make(chan struct{})
		m := moving(t, func(cfg *connect.Config) {
			cfg.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials.Add(1) == 2 {
					close(leaving)
					<-taken
				}
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}
		})
		connectTo := m.steal(t)
		m.release()
		<-leaving
		lost := connectTo()
		close(taken)
		talk(t, m.conn, "after")
		if want := "your session stays on tunnel " + m.first; !strings.Contains(m.heard.String(), want) {
			t.Errorf("%q is not told:\n%s", want, m.heard)
		}
		m.wantLeft(t, lost)
	})
	t.Run("and the session ends", func(t *testing.T) {
		t.Parallel()
		m := moving(t, nil)
		m.wantLeft(t, m.steal(t)())
	})
}

// A session that is about to move on does not wait for the device when its tunnel is closed early.
func TestATunnelMayBeClosedWhileItsSessionIsAboutToMove(t *testing.T) {
	t.Parallel()
	m := moving(t, nil)
	if err := m.Store.Close(m.first, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session goes on over the other tunnel", func() bool {
		d, err := m.Store.Describe(m.next)
		return err == nil && d.SourceState.Status == tunnels.Connected
	})
	m.release()
	talk(t, m.conn, "after")
	if open := m.open(); len(open) != 1 || open[0] != m.next || m.tunnel.ID() != m.next {
		t.Errorf("open tunnels %v, and %s in use, want %s", open, m.tunnel.ID(), m.next)
	}
}
