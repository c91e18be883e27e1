package connect_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// blind is a control API that can fail to describe tunnels.
type blind struct {
	connect.API

	fails atomic.Bool
	seen  chan struct{} // gets a value for each answer that a source is connected
}

func (b *blind) DescribeTunnel(ctx context.Context, in *iot.DescribeTunnelInput, opts ...func(*iot.Options)) (*iot.DescribeTunnelOutput, error) {
	if b.fails.Load() {
		return nil, errors.New("no answer")
	}
	out, err := b.API.DescribeTunnel(ctx, in, opts...)
	if err == nil && out.Tunnel.SourceConnectionState.Status == types.ConnectionStatusConnected {
		select {
		case b.seen <- struct{}{}:
		default:
		}
	}
	return out, err
}

// blackHole is a connection that can lose its network: its peer does not learn of the end.
type blackHole struct {
	net.Conn

	lost atomic.Bool
}

func (b *blackHole) lose() {
	b.lost.Store(true)
	_ = b.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (b *blackHole) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if b.lost.Load() {
		return 0, errors.New("no network")
	}
	return n, err
}

func (b *blackHole) Write(p []byte) (int, error) {
	if b.lost.Load() {
		return 0, errors.New("no network")
	}
	return b.Conn.Write(p)
}

func (b *blackHole) Close() error {
	if b.lost.Load() {
		return nil
	}
	return b.Conn.Close()
}

// The service may hold a link that this side has lost, and then refuses the next one. It is not another operator's, even if
// the control API never said when it was made.
func TestALinkThatTheServiceHoldsIsNotAnotherOperators(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	c := newCloudThat(t, sandbox.Config{Behaviour: tunnels.Behaviour{SamePairWaits: true}}, d.run)
	cfg := c.config()
	describe := &blind{API: cfg.API, seen: make(chan struct{}, 1)}
	cfg.API = describe
	var link atomic.Pointer[blackHole]
	cfg.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		link.Store(&blackHole{Conn: conn})
		return link.Load(), nil
	}
	var lost atomic.Int32
	cfg.Progress = func(e connect.Event) {
		if e.Kind == connect.Detached && lost.Add(1) == 2 {
			describe.fails.Store(false)
		}
	}
	tunnel := openTunnel(t, cfg, "SSH")
	conn := dial(t, tunnel, "SSH")
	talk(t, conn, "over the first link")
	eventually(t, "the first link is known", func() bool { return connect.KnowsItsLink(tunnel) })
	describe.fails.Store(true)
	source := relay.Target{Side: tunnels.Source}
	c.Relay.Faults().Cut(source)
	talk(t, conn, "over the second one")
	second := link.Load()
	defer func() { _ = second.Conn.Close() }()
	second.lose()
	for range 2 { // the first answer may be about the link that has just ended
		select {
		case <-describe.seen:
		case <-tunnel.Done():
			t.Fatal(tunnel.Err())
		case <-time.After(20 * time.Second):
			t.Fatal("the session does not look whose the link is")
		}
	}
	c.Relay.Faults().Cut(source) // it has learned of it
	talk(t, conn, "over the third one")
}
