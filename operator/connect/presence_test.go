package connect

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/operator/presence"
)

func TestADeviceThatIsAwayIsSaidBeforeATunnelIsOpened(t *testing.T) {
	const lastSeen = "pi-1 is not connected: last seen 3 h ago from 203.0.113.7 (MQTT_KEEP_ALIVE_TIMEOUT)"
	left := func(ago time.Duration) presence.State {
		return presence.State{
			ClientID: "pi-1-tunnel", Known: true, Since: time.Now().Add(-ago), Address: "203.0.113.7", Reason: "MQTT_KEEP_ALIVE_TIMEOUT",
		}
	}
	connected := func(*types.Tunnel) {}
	tests := []struct {
		name    string
		there   bool
		never   bool
		ago     time.Duration // since it left
		back    time.Duration // when it returns; 0: it does not
		err     error
		slow    time.Duration
		waits   bool // --wait was given
		tunnel  func(*types.Tunnel)
		makes   string        // a call that must be made; "" if none may be
		took    time.Duration // at most 3 s more
		notices string
	}{
		{name: "there", there: true, makes: "open"},
		{name: "away for hours", ago: 3 * time.Hour},
		{name: "away, with an open tunnel", ago: 3 * time.Hour, tunnel: connected},
		{name: "away, and connected to the tunnel", ago: 3 * time.Hour, makes: "rotate", tunnel: func(d *types.Tunnel) {
			d.DestinationConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: aws.Time(time.Now())}
		}},
		{name: "never seen", never: true, makes: "open", notices: "has never connected as pi-1-tunnel"},
		{name: "no permission", err: apiError("ForbiddenException"), makes: "open"},
		{name: "a slow answer", ago: 3 * time.Hour, slow: 10 * time.Second, makes: "open", took: lookPatience},
		{name: "it restarts", ago: 5 * time.Second, back: 10 * time.Second, makes: "open", took: 10 * time.Second, notices: "has connected"},
		{name: "it does not come back soon", ago: 5 * time.Second, took: 55 * time.Second, notices: "last seen 5 s ago"},
		{name: "waited for", waits: true, ago: 3 * time.Hour, back: 5 * time.Minute, makes: "open", took: 5 * time.Minute, notices: lastSeen},
		{name: "waited for in vain", waits: true, ago: 3 * time.Hour, took: 10 * time.Minute, notices: lastSeen},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				state := left(tt.ago)
				if tt.never {
					state = presence.State{ClientID: "pi-1-tunnel"}
				}
				api, news := &scripted{}, &told{}
				if tt.tunnel != nil {
					api.tunnels = append(api.tunnels, aTunnel("a", tt.tunnel))
				}
				cfg := Config{
					API: api, Region: "eu-west-1", Progress: news.event, Wait: 10 * time.Minute, WaitForAway: tt.waits,
					Presence: func(ctx context.Context, _ string) (presence.State, error) {
						select {
						case <-time.After(tt.slow):
						case <-ctx.Done():
							return presence.State{}, ctx.Err()
						}
						if tt.there || tt.back > 0 && time.Since(began) >= tt.back {
							return presence.State{ClientID: "pi-1-tunnel", Known: true, Connected: true, Since: time.Now()}, nil
						}
						return state, tt.err
					},
				}
				if err := cfg.check("pi-1", []string{"SSH"}); err != nil {
					t.Fatal(err)
				}
				f := &finder{Config: &cfg, thing: "pi-1", wanted: []string{"SSH"}}
				f.lookOut(t.Context())
				_, err := f.find(t.Context())
				took, calls := time.Since(began), strings.Join(api.asked(), " ")
				if e, ok := errors.AsType[*Error](err); (err == nil) != (tt.makes != "") || err != nil && (!ok || e.Reason != DeviceAbsent) {
					t.Errorf("error %v", err)
				}
				if made := strings.Contains(calls, "open") || strings.Contains(calls, "rotate"); made != (tt.makes != "") || !strings.Contains(calls, tt.makes) {
					t.Errorf("calls %q, want %q", calls, tt.makes)
				}
				if took < tt.took || took > tt.took+3*time.Second || tt.took == 0 && took > 0 {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if err != nil && tt.took == 0 && err.Error() != lastSeen {
					t.Errorf("error %q, want %q", err, lastSeen)
				}
				texts := slices.DeleteFunc(news.texts(Notice), func(s string) bool { return strings.Contains(s, "which AWS charges for") })
				if said := strings.Join(texts, "\n"); !strings.Contains(said, tt.notices) || tt.notices == "" && said != "" {
					t.Errorf("said %q, want %q", said, tt.notices)
				}
			})
		})
	}
}
