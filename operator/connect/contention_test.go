package connect_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// TestManyAtOnceTakeNothingFromEachOther starts several operators at the same moment, where there is one tunnel that all
// of them find, and where there is none: each gets one for itself and keeps it.
func TestManyAtOnceTakeNothingFromEachOther(t *testing.T) {
	t.Parallel()
	const operators, rounds = 4, 3
	for name, behaviour := range map[string]tunnels.Behaviour{
		"a rotation ends a connection": {}, "a rotated token's connection stands": {RotationKeepsConnection: true},
	} {
		for _, open := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", one tunnel is open"}[open], func(t *testing.T) {
				t.Parallel()
				c := newCloudThat(t, sandbox.Config{Behaviour: behaviour}, keepingDevice(time.Minute, echo))
				for range rounds {
					if open {
						c.leaveTunnel(t)
					}
					var all sync.WaitGroup
					got := make([]*connect.Tunnel, operators)
					for i := range got {
						all.Go(func() {
							tunnel, err := connect.Open(within(t, 30*time.Second), c.config(), "pi-1", "SSH")
							if err != nil {
								t.Errorf("operator %d: %v", i, err)
								return
							}
							got[i] = tunnel
							conn, err := tunnel.Dial(within(t, 30*time.Second), "SSH")
							if err != nil {
								t.Errorf("operator %d: %v", i, err)
								return
							}
							defer conn.Close()
							if err := says(conn, "hello"); err != nil {
								t.Errorf("operator %d: %v", i, err)
							}
						})
					}
					all.Wait()
					ids := map[string]int{}
					for i, tunnel := range got {
						if tunnel == nil {
							continue
						}
						if other, twice := ids[tunnel.ID()]; twice {
							t.Errorf("operators %d and %d have the same tunnel", other, i)
						}
						ids[tunnel.ID()] = i
						select {
						case <-tunnel.Done():
							t.Errorf("operator %d lost its tunnel: %v", i, tunnel.Err())
						default:
						}
						_ = tunnel.Close()
					}
					for _, id := range c.open() {
						_ = c.Store.Close(id, true)
					}
				}
			})
		}
	}
}

// heldRotation is a control API whose first rotation waits.
type heldRotation struct {
	connect.API

	once                  sync.Once
	asked, release, ended chan struct{}
}

func holdRotation(api connect.API) *heldRotation {
	return &heldRotation{API: api, asked: make(chan struct{}), release: make(chan struct{}), ended: make(chan struct{})}
}

func (h *heldRotation) RotateTunnelAccessToken(ctx context.Context, in *iot.RotateTunnelAccessTokenInput, opts ...func(*iot.Options)) (out *iot.RotateTunnelAccessTokenOutput, err error) {
	first := false
	h.once.Do(func() {
		first = true
		close(h.asked)
		<-h.release
	})
	out, err = h.API.RotateTunnelAccessToken(ctx, in, opts...)
	if first {
		close(h.ended)
	}
	return out, err
}

// whenConnected is a control API that calls then before it says for the first time that a source is connected.
type whenConnected struct {
	connect.API

	once sync.Once
	then func()
}

func (w *whenConnected) DescribeTunnel(ctx context.Context, in *iot.DescribeTunnelInput, opts ...func(*iot.Options)) (*iot.DescribeTunnelOutput, error) {
	out, err := w.API.DescribeTunnel(ctx, in, opts...)
	if err == nil && out.Tunnel.SourceConnectionState.Status == types.ConnectionStatusConnected {
		w.once.Do(w.then)
	}
	return out, err
}

// TestARotationThatComesLateTakesNothing has an operator look at a tunnel and rotate its tokens only when another one is
// connected to it.
func TestARotationThatComesLateTakesNothing(t *testing.T) {
	t.Parallel()
	for name, behaviour := range map[string]tunnels.Behaviour{
		"a rotation ends a connection": {}, "a rotated token's connection stands": {RotationKeepsConnection: true},
	} {
		for _, when := range []string{"after the other one has confirmed the tunnel", "before that", "before the other one knows the services"} {
			t.Run(name+", "+when, func(t *testing.T) {
				t.Parallel()
				c := newCloudThat(t, sandbox.Config{Behaviour: behaviour}, keepingDevice(time.Minute, echo))
				id := c.leaveTunnel(t)
				slow := c.config()
				held := holdRotation(slow.API)
				slow.API = held
				opened := make(chan *connect.Tunnel, 1)
				go func() {
					tunnel, err := connect.Open(within(t, 30*time.Second), slow, "pi-1", "SSH")
					if err != nil {
						t.Error(err)
					}
					opened <- tunnel
				}()
				select {
				case <-held.asked:
				case <-opened:
					t.Fatal("no tunnel was found")
				}
				rotate := func() {
					close(held.release)
					<-held.ended
				}
				fast := c.config()
				switch when {
				case "before that":
					fast.API = &whenConnected{API: fast.API, then: rotate}
				case "before the other one knows the services":
					c.Relay.Faults().EndEarly(relay.Target{Side: tunnels.Source}, 1, relay.Ending{Code: 1012})
					var dials atomic.Int32
					fast.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
						if dials.Add(1) == 2 {
							rotate()
						}
						return (&net.Dialer{}).DialContext(ctx, network, address)
					}
				}
				first := openTunnel(t, fast, "SSH")
				conn := dial(t, first, "SSH")
				talk(t, conn, "mine")
				if when == "after the other one has confirmed the tunnel" {
					rotate()
				}
				second := <-opened
				if second == nil {
					return
				}
				defer second.Close()
				if first.ID() != id || second.ID() == id {
					t.Errorf("the first operator has %s and the second one %s; the tunnel that was there is %s", first.ID(), second.ID(), id)
				}
				talk(t, conn, "still mine")
				talk(t, dial(t, second, "SSH"), "another one")
				select {
				case <-first.Done():
					t.Errorf("the first operator lost the tunnel: %v", first.Err())
				default:
				}
			})
		}
	}
}

// An operator who lost the link and the token makes a new one, but not where another operator connects meanwhile.
func TestANewTokenTakesNothing(t *testing.T) {
	t.Parallel()
	c := newCloudThat(t, sandbox.Config{Behaviour: tunnels.Behaviour{RotationKeepsConnection: true}}, culvertDevice(echo))
	cfg := c.config()
	held := holdRotation(cfg.API)
	cfg.API = held
	tunnel := openTunnel(t, cfg, "SSH")
	talk(t, dial(t, tunnel, "SSH"), "mine")
	rotated, err := c.Store.Rotate(tunnel.ID(), tunnels.RotateSource, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
	<-held.asked
	other := proxy.NewSource(proxy.SourceConfig{Connection: c.connection(rotated.SourceToken), Form: proxy.V3})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { ended <- other.Run(ctx) }()
	<-other.Ready()
	close(held.release)
	<-tunnel.Done()
	wantReason(t, tunnel.Err(), connect.TakenOver)
	select {
	case err := <-ended:
		t.Errorf("the other operator lost the tunnel: %v", err)
	default:
		cancel()
		<-ended //nolint:errcheck // only the end counts
	}
}
