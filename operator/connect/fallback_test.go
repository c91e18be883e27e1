package connect

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
)

// A device that was found to speak V1 only may run another program when it comes back.
func TestAutoGoesBackToV3WhenTheDeviceHasReconnected(t *testing.T) {
	for name, look := range map[string]func(context.Context, *Tunnel){
		"seen by the watch": func(ctx context.Context, t *Tunnel) {
			ctx, cancel := context.WithTimeout(ctx, watchPoll+time.Second)
			defer cancel()
			t.watchDevice(ctx)
		},
		"seen before a start": func(ctx context.Context, t *Tunnel) { t.session.lookAtDevice(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, tt := range []struct {
				destination    DestinationType
				first, changed proxy.Form // before and after two starts that the device answered with a drop
				back           proxy.Form // after its return
				drops          int        // websockets that were ended here for it
			}{
				{Auto, proxy.V3, proxy.V1, proxy.V3, 2},
				{V1, proxy.V1, proxy.V1, proxy.V1, 0},
			} {
				synctest.Test(t, func(t *testing.T) {
					since := time.Now()
					device := &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: &since}
					api := &scripted{tunnels: []*types.Tunnel{aTunnel("a", func(d *types.Tunnel) { d.DestinationConnectionState = device })}}
					cfg := checked(t, Config{API: api, Destination: tt.destination})
					tunnel := &Tunnel{cfg: &cfg, thing: "pi-1", session: newSession(&cfg, &tunnel{id: "a", services: []string{"SSH"}})}
					s, drops := tunnel.session, 0
					s.drop = func(error) { drops++ }
					s.setDeviceSince(since)
					form := func(when string, want proxy.Form) {
						t.Helper()
						if got := s.presentForm(); got != want {
							t.Errorf("%s, %s: form %v, want %v", tt.destination, when, got, want)
						}
					}
					form("at first", tt.first)
					for range dropsForV1 {
						s.recordDrop(tt.first)
					}
					form("after the drops", tt.changed)
					s.confirmForm()
					look(t.Context(), tunnel)
					form("while the device stays", tt.changed)

					device.LastUpdatedAt = aws.Time(time.Now().Add(time.Second))
					look(t.Context(), tunnel)
					form("after its return", tt.back)
					if drops != tt.drops {
						t.Errorf("%s: %d websockets were ended, want %d", tt.destination, drops, tt.drops)
					}
					if unknown := s.formUnknown(); unknown != (tt.destination == Auto) {
						t.Errorf("%s: the form is unknown: %v", tt.destination, unknown)
					}
				})
			}
		})
	}
}
