package connect

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// A holder watches each tunnel as long as it lives itself, and may have had many.
func TestAClosedTunnelIsNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &scripted{tunnels: []*types.Tunnel{aTunnel("a")}}
		cfg := checked(t, Config{API: api, NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		tunnel := &Tunnel{cfg: &cfg, thing: "pi-1", session: newSession(&cfg, &tunnel{id: "a", services: []string{"SSH"}, token: secret.New("token-of-a")})}
		tunnel.session.start(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			tunnel.Watch(ctx)
		}()
		time.Sleep(time.Minute)
		if len(api.asked()) == 0 {
			t.Errorf("it was not watched: %v", tunnel.Err())
		}
		if err := tunnel.Close(); err != nil {
			t.Error(err)
		}
		calls := len(api.asked())
		time.Sleep(time.Hour)
		if more := api.asked()[calls:]; len(more) > 0 {
			t.Errorf("%d calls in the hour after its end, as %q", len(more), more[0])
		}
		select {
		case <-watched:
		default:
			t.Error("Watch goes on")
		}
		cancel()
		<-watched
	})
}

// Another operator has taken the tunnel over, and this side's websocket stands all the same. The other one's device leaves.
func TestATunnelThatWasTakenOverIsNotRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		api := &scripted{tunnels: []*types.Tunnel{aTunnel("a", func(d *types.Tunnel) {
			d.SourceConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: aws.Time(began.Add(time.Minute))}
		})}}
		cfg := checked(t, Config{API: api})
		tunnel := &Tunnel{cfg: &cfg, thing: "pi-1", session: newSession(&cfg, &tunnel{id: "a", services: []string{"SSH"}})}
		mine := tunnel.session.current.Load()
		mine.links.Store(1)
		mine.connectedAt, mine.recorded = began, 1
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		tunnel.watchDevice(ctx)
		if calls := api.asked(); slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "rotate") }) {
			t.Errorf("calls %q", calls)
		}
	})
}
