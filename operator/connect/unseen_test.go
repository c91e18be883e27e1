package connect_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// unanswered is a connection that loses its network when a websocket's handshake is sent.
type unanswered struct {
	blackHole

	answered bool // the server has spoken
	sent     int  // bytes since then
	gone     chan struct{}
}

// requestSize is between the size of what ends a TLS handshake and that of a request with a token.
const requestSize = 250

func (u *unanswered) Read(p []byte) (int, error) {
	n, err := u.blackHole.Read(p)
	u.answered = u.answered || n > 0
	return n, err
}

func (u *unanswered) Write(p []byte) (int, error) {
	n, err := u.blackHole.Write(p)
	if u.answered && !u.lost.Load() {
		if u.sent += n; u.sent > requestSize {
			u.lose()
			close(u.gone)
		}
	}
	return n, err
}

// losing dials the data endpoint, and loses the network of the second connection when its handshake is sent.
type losing struct {
	first  bool // of the first one instead
	down   bool // also the network of further ones
	slow   bool // the third one is not there until its caller leaves
	third  chan struct{}
	dials  atomic.Int32
	second *unanswered
}

func loseSecond(t *testing.T) *losing {
	t.Helper()
	l := &losing{third: make(chan struct{}), second: &unanswered{gone: make(chan struct{})}}
	t.Cleanup(func() {
		if conn := l.second.Conn; conn != nil {
			_ = conn.Close()
		}
	})
	return l
}

func (l *losing) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n := l.dials.Add(1)
	if l.first {
		n++
	}
	if n == 3 && l.slow {
		close(l.third)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if n > 2 && l.down {
		return nil, &net.OpError{Op: "dial", Err: errors.New("no network")}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil && n == 2 {
		l.second.Conn = conn
		return l.second, nil
	}
	return conn, err
}

// The service lets this side in again and again, and no answer arrives: what was opened is this side's all the same.
func TestATunnelWhoseHandshakesAreNotAnsweredIsClosed(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	c.Relay.Faults().LoseAnswers(relay.Target{Side: tunnels.Source}, 4)
	cfg := c.config()
	cfg.New = true
	_, err := connect.Open(within(t, 20*time.Second), cfg, "pi-1", "SSH")
	wantReason(t, err, connect.NoDataPlane)
	if open := c.open(); len(open) > 0 {
		t.Errorf("left open: %v", open)
	}
}

// The service may refuse the very first link of a tunnel that was just opened, since it holds one that this side never saw.
// The tunnel is used all the same, also where it is not waited for that the service notices.
func TestAFirstLinkThatWasNotSeenIsReplaced(t *testing.T) {
	t.Parallel()
	c := newCloudThat(t, sandbox.Config{Behaviour: tunnels.Behaviour{SamePairWaits: true}}, culvertDevice(echo))
	cfg, network := c.config(), loseSecond(t)
	network.first, cfg.NetDial, cfg.Wait = true, network.dial, 3*time.Second
	tunnel, err := connect.Open(within(t, 30*time.Second), cfg, "pi-1", "SSH")
	if err == nil {
		talk(t, dial(t, tunnel, "SSH"), "over the second link")
		err = tunnel.Close()
	}
	if err != nil {
		t.Error(err)
	}
	if open := c.open(); len(open) > 0 {
		t.Errorf("left open: %v", open)
	}
	if n := len(c.Store.List("pi-1")); n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
}

// A session that is left while the service holds a link that this side never saw closes its tunnel.
func TestATunnelWhoseNextLinkIsNotSeenIsClosed(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	cfg, network := c.config(), loseSecond(t)
	network.down, cfg.NetDial = true, network.dial
	tunnel := openTunnel(t, cfg, "SSH")
	talk(t, dial(t, tunnel, "SSH"), "over the first link")
	eventually(t, "the first link is known", func() bool { return connect.KnowsItsLink(tunnel) })
	first, err := c.Store.Describe(tunnel.ID())
	if err != nil {
		t.Fatal(err)
	}
	c.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
	<-network.second.gone
	eventually(t, "the service holds the second link", func() bool {
		d, err := c.Store.Describe(tunnel.ID())
		return err == nil && d.SourceState.Status == tunnels.Connected && d.SourceState.LastUpdatedAt.After(first.SourceState.LastUpdatedAt)
	})
	if err := tunnel.Close(); err != nil {
		t.Error(err)
	}
	if open := c.open(); len(open) > 0 {
		t.Errorf("left open: %v", open)
	}
}

// A handshake whose answer was not seen may have been refused, since another operator had come before it.
func TestATunnelThatWasTakenOverUnseenIsLeftOpen(t *testing.T) {
	t.Parallel()
	c := newCloudThat(t, sandbox.Config{Behaviour: tunnels.Behaviour{RotationKeepsConnection: true}}, culvertDevice(echo))
	cfg, network, heard := c.config(), loseSecond(t), &news{}
	network.slow, cfg.NetDial, cfg.Progress = true, network.dial, heard.event
	first := openTunnel(t, cfg, "SSH")
	talk(t, dial(t, first, "SSH"), "mine")
	other := c.config()
	other.TakeOver = true
	second := openTunnel(t, other, "SSH")
	if second.ID() != first.ID() {
		t.Fatal("another tunnel was used")
	}
	conn := dial(t, second, "SSH")
	talk(t, conn, "yours")
	<-network.second.gone
	<-network.third
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	talk(t, conn, "still yours")
	if want := "tunnel " + first.ID() + " is left open"; !strings.Contains(heard.String(), want) {
		t.Errorf("%q is not told:\n%s", want, heard)
	}
}

// The service may refuse this side for a link of its own that it never saw. That is no other operator's.
func TestALinkThatWasNotSeenIsNotAnotherOperators(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	c := newCloudThat(t, sandbox.Config{Behaviour: tunnels.Behaviour{SamePairWaits: true}}, d.run)
	cfg, network := c.config(), loseSecond(t)
	cfg.NetDial = network.dial
	describe := &blind{API: cfg.API, seen: make(chan struct{}, 1)}
	cfg.API = describe
	tunnel := openTunnel(t, cfg, "SSH")
	conn := dial(t, tunnel, "SSH")
	talk(t, conn, "over the first link")
	eventually(t, "the first link is known", func() bool { return connect.KnowsItsLink(tunnel) })
	source := relay.Target{Side: tunnels.Source}
	c.Relay.Faults().Cut(source)
	<-network.second.gone
	for range 2 { // the first answer may be about the first link
		select {
		case <-describe.seen:
		case <-tunnel.Done():
			t.Fatal(tunnel.Err())
		case <-time.After(20 * time.Second):
			t.Fatal("the session does not look whose the link is")
		}
	}
	c.Relay.Faults().Cut(source) // the service has learned of its end
	talk(t, conn, "over the third one")
}
