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
	"github.com/culvert-iot/culvert/proxy"
)

func TestWaitingForTheDevice(t *testing.T) {
	const before = 10 * time.Minute // how long ago the device's state changed last
	type at struct {
		after     time.Duration
		connected bool
	}
	tests := []struct {
		name    string
		stale   bool // the tunnel is an old one, its device connected before
		changes []at // of the device's state
		closed  time.Duration
		took    time.Duration // at least, and at most 2.1 s more
		reason  Reason
		fails   bool
		rotates int
		wait    time.Duration // default DefaultWait
		advice  bool
	}{
		{name: "a device that is there", changes: []at{{100 * time.Millisecond, true}}, took: 100 * time.Millisecond},
		{name: "an old connection does not count", stale: true, changes: []at{{time.Second, true}}, took: time.Second},
		{name: "nor one that is going", stale: true, changes: []at{{time.Second, false}, {3 * time.Second, true}}, took: 3 * time.Second},
		{name: "advice after a while", changes: []at{{12 * time.Second, true}}, took: 12 * time.Second, advice: true},
		{name: "one more notification", changes: []at{{40 * time.Second, true}}, took: 40 * time.Second, advice: true, rotates: 1},
		{name: "an offline device", took: time.Minute, fails: true, reason: DeviceAbsent, advice: true, rotates: 2},
		{name: "a longer wait: a notification every 20 to 30 s", wait: 100 * time.Second, took: 100 * time.Second, fails: true, reason: DeviceAbsent, advice: true, rotates: 3},
		{name: "a tunnel that is closed meanwhile", closed: 5 * time.Second, took: 5 * time.Second, fails: true, reason: TunnelClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				d := aTunnel("a")
				found := &tunnel{id: "a", services: []string{"SSH"}}
				if tt.stale {
					found.destinationBefore = began.Add(-before)
					d.DestinationConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: aws.Time(began.Add(-before))}
				}
				api, news := &scripted{tunnels: []*types.Tunnel{d}}, &told{}
				api.onDescribe = func(d *types.Tunnel) {
					for _, c := range tt.changes {
						if time.Since(began) < c.after {
							continue
						}
						status := types.ConnectionStatusDisconnected
						if c.connected {
							status = types.ConnectionStatusConnected
						}
						d.DestinationConnectionState = &types.ConnectionState{Status: status, LastUpdatedAt: aws.Time(began.Add(c.after))}
					}
					if tt.closed > 0 && time.Since(began) >= tt.closed {
						d.Status = types.TunnelStatusClosed
					}
				}
				cfg := checked(t, Config{API: api, Progress: news.event, Wait: tt.wait})
				ctx, cancel := context.WithTimeoutCause(t.Context(), cfg.Wait, errWaited)
				defer cancel()
				err := (&waiter{Config: &cfg, thing: "pi-1", tunnel: found}).wait(ctx)
				if e, ok := errors.AsType[*Error](err); (err != nil) != tt.fails || ok && e.Reason != tt.reason || tt.fails && !ok {
					t.Errorf("error %v", err)
				}
				// culvertd gets what it missed, and other agents are notified again: it may come later than the first token.
				if e, ok := errors.AsType[*Error](err); ok && tt.reason == DeviceAbsent && !strings.HasPrefix(e.Hint(), "run the command again when it is online, or let it wait longer with --wait; ") {
					t.Errorf("hint %q", e.Hint())
				}
				if took := time.Since(began); took < tt.took || took > tt.took+2100*time.Millisecond {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				calls := api.asked()
				if n := len(slices.DeleteFunc(slices.Clone(calls), func(c string) bool { return c != "rotate a DESTINATION pi-1 SSH" })); n != tt.rotates {
					t.Errorf("%d rotations, want %d: %v", n, tt.rotates, calls)
				}
				advice := strings.Join(news.texts(Advice), "\n")
				if (advice != "") != tt.advice {
					t.Errorf("advice %q", advice)
				}
				for _, want := range []string{"offline", "policy", "region"} {
					if tt.advice && !strings.Contains(advice, want) {
						t.Errorf("no %q in %q", want, advice)
					}
				}
			})
		})
	}
}

func TestADeviceWhoseTunnelsAreAllTakenIsNotCalledOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := func(d *types.Tunnel) {
			d.DestinationConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: d.CreatedAt}
		}
		api, news := &scripted{tunnels: []*types.Tunnel{aTunnel("a"), aTunnel("b", busy), aTunnel("c", busy)}}, &told{}
		cfg := checked(t, Config{API: api, Progress: news.event, Wait: 15 * time.Second})
		ctx, cancel := context.WithTimeoutCause(t.Context(), cfg.Wait, errWaited)
		defer cancel()
		_ = (&waiter{Config: &cfg, thing: "pi-1", tunnel: &tunnel{id: "a", services: []string{"SSH"}}}).wait(ctx)
		advice := strings.Join(news.texts(Advice), "\n")
		if !strings.Contains(advice, "connected to 2 other tunnels") || strings.Contains(advice, "offline") {
			t.Errorf("advice %q", advice)
		}
	})
}

// A device without a place for another tunnel connects to the newest one for some seconds, and then leaves it.
func TestADeviceThatLeftForWantOfAPlaceIsNotCalledOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := func(d *types.Tunnel) {
			d.DestinationConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: d.CreatedAt}
		}
		api, news := &scripted{tunnels: []*types.Tunnel{aTunnel("a"), aTunnel("b", busy)}}, &told{}
		cfg := checked(t, Config{API: api, Progress: news.event})
		tunnel := &Tunnel{cfg: &cfg, thing: "pi-1", session: newSession(&cfg, &tunnel{id: "a", services: []string{"SSH"}})}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		tunnel.watchDevice(ctx)
		if advice := news.texts(Advice); len(advice) != 2 || !strings.HasPrefix(advice[0], "pi-1 is online: it is connected to another tunnel") {
			t.Errorf("advice %q", advice)
		}
	})
}

// A device that has lost its state waits for a notification.
func TestADeviceThatLeftAnOpenTunnelIsNotifiedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		d := aTunnel("a")
		api, news := &scripted{tunnels: []*types.Tunnel{d}}, &told{}
		api.onDescribe = func(d *types.Tunnel) {
			status, at := types.ConnectionStatusConnected, began
			switch since := time.Since(began); {
			case since > 100*time.Second:
				at = began.Add(100 * time.Second)
			case since > 20*time.Second:
				status, at = types.ConnectionStatusDisconnected, began.Add(20*time.Second)
			}
			d.DestinationConnectionState = &types.ConnectionState{Status: status, LastUpdatedAt: aws.Time(at)}
		}
		cfg := checked(t, Config{API: api, Progress: news.event})
		found := &tunnel{id: "a", services: []string{"SSH"}}
		tunnel := &Tunnel{cfg: &cfg, thing: "pi-1", session: newSession(&cfg, found)}
		tunnel.session.setDeviceSince(began)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		tunnel.watchDevice(ctx)
		rotations := slices.DeleteFunc(api.asked(), func(c string) bool { return c != "rotate a DESTINATION pi-1 SSH" })
		if n := len(rotations); n < 2 || n > 3 {
			t.Errorf("%d notifications in the 80 s that it was away, want one after %v and one every %v", n, awayGrace, notifyEvery)
		}
		told := strings.Join(append(news.texts(DeviceLeft), news.texts(DeviceBack)...), "\n")
		if told != "pi-1 has left the tunnel\npi-1 is connected again" {
			t.Errorf("told %q", told)
		}
	})
}

// Events of this side's link and of the device come in the order in which they happen.
func TestALinkThatIsBackBeforeTheDeviceSaysSo(t *testing.T) {
	const left, linked = 20 * time.Second, 61 * time.Second
	for name, tt := range map[string]struct {
		back time.Duration // of the device
		want []string
	}{
		"the device is back before it was seen to leave": {left + time.Second, []string{"connected again"}},
		"the device is back first":                       {linked - 5*time.Second, []string{"pi-1 has left the tunnel", "pi-1 is connected again", "connected again"}},
		"both at a time":                                 {linked - time.Millisecond, []string{"pi-1 has left the tunnel", "connected again, waiting for the device", "pi-1 is connected again"}},
		"the device is back later":                       {linked + 5*time.Second, []string{"pi-1 has left the tunnel", "connected again, waiting for the device", "pi-1 is connected again"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				d := aTunnel("a")
				api, news := &scripted{tunnels: []*types.Tunnel{d}}, &told{}
				api.onDescribe = func(d *types.Tunnel) {
					status, at := types.ConnectionStatusConnected, began
					switch since := time.Since(began); {
					case since >= tt.back:
						at = began.Add(tt.back)
					case since >= left:
						status, at = types.ConnectionStatusDisconnected, began.Add(left)
					}
					d.DestinationConnectionState = &types.ConnectionState{Status: status, LastUpdatedAt: aws.Time(at)}
				}
				cfg := checked(t, Config{API: api, Progress: news.event})
				tunnel := &Tunnel{cfg: &cfg, thing: "pi-1", session: newSession(&cfg, &tunnel{id: "a", services: []string{"SSH"}})}
				tunnel.session.setDeviceSince(began)
				source := proxy.NewSource(proxy.SourceConfig{})
				tunnel.session.publish(source)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				go tunnel.watchDevice(ctx)
				time.Sleep(linked)
				tunnel.session.publish(source)
				synctest.Wait()
				if said := news.texts(DeviceBack); tt.back == linked-time.Millisecond && len(said) == 0 {
					t.Error("the device's return is not said at once")
				}
				<-ctx.Done()
				synctest.Wait()
				var said []string
				for _, e := range news.list {
					if e.Kind == DeviceLeft || e.Kind == DeviceBack || e.Kind == Resumed {
						said = append(said, e.Text)
					}
				}
				if !slices.Equal(said, tt.want) {
					t.Errorf("said %q, want %q", said, tt.want)
				}
			})
		})
	}
}

// checked is cfg for the thing pi-1 and its service SSH, in a region.
func checked(t *testing.T, cfg Config) Config {
	t.Helper()
	cfg.Region = "eu-west-1"
	if err := cfg.check("pi-1", []string{"SSH"}); err != nil {
		t.Fatal(err)
	}
	return cfg
}
