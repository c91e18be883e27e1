package connect

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/operator/presence"
)

func TestFindingATunnel(t *testing.T) {
	inUse := func(t *types.Tunnel) {
		t.SourceConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: aws.Time(time.Now())}
	}
	wasInUse := func(t *types.Tunnel) { t.SourceConnectionState.LastUpdatedAt = aws.Time(time.Now()) }
	ofCulvert := func(t *types.Tunnel) { t.Description = aws.String(openedBy) }
	closed := func(t *types.Tunnel) { t.Status = types.TunnelStatusClosed }
	with := func(services ...string) func(*types.Tunnel) {
		return func(t *types.Tunnel) { t.DestinationConfig.Services = services }
	}
	living := func(age time.Duration, minutes int32) func(*types.Tunnel) {
		return func(t *types.Tunnel) {
			t.CreatedAt = aws.Time(time.Now().Add(-age))
			t.TimeoutConfig = &types.TimeoutConfig{MaxLifetimeTimeoutMinutes: &minutes}
		}
	}
	tried := func(id string) []string {
		return []string{"list pi-1", "describe " + id, "rotate " + id + " ALL pi-1 SSH"}
	}
	rotated := func(id string) []string { return append(tried(id), "describe "+id) }
	tests := []struct {
		name    string
		tunnels []*types.Tunnel
		fail    map[string]error
		other   func(*types.Tunnel) // what another operator does just before the rotation
		config  Config
		wanted  []string // default SSH
		calls   []string
		notice  string // is told, if not empty
		err     string // its code, if not empty
		opened  bool
		life    string // of what is opened; default 12 h
	}{
		{name: "none: one is opened", calls: []string{"list pi-1", "open pi-1 SSH"}, opened: true},
		{name: "an open one is rotated, with thing and services", tunnels: []*types.Tunnel{aTunnel("a")}, calls: rotated("a")},
		{
			name: "the newest first, closed ones never", tunnels: []*types.Tunnel{aTunnel("c", closed), aTunnel("b"), aTunnel("a", living(2*time.Hour, 720))},
			calls: []string{"list pi-1", "list pi-1", "list pi-1", "describe b", "rotate b ALL pi-1 SSH", "describe b"},
		},
		{
			name: "the services must be there", tunnels: []*types.Tunnel{aTunnel("a", with("HTTP"))},
			calls: []string{"list pi-1", "describe a", "open pi-1 SSH"}, opened: true,
		},
		{
			name: "more services are no harm", tunnels: []*types.Tunnel{aTunnel("a", with("HTTP", "SSH"))},
			calls: []string{"list pi-1", "describe a", "rotate a ALL pi-1 HTTP,SSH", "describe a"},
		},
		{
			name: "but V1 knows only one", tunnels: []*types.Tunnel{aTunnel("a", with("HTTP", "SSH"))}, config: Config{Destination: V1},
			calls: []string{"list pi-1", "describe a", "open pi-1 SSH"}, opened: true,
		},
		{
			name: "one that is about to end is passed over", tunnels: []*types.Tunnel{aTunnel("a", living(57*time.Minute, 60))},
			calls: []string{"list pi-1", "describe a", "open pi-1 SSH"}, opened: true,
		},
		{name: "a short one that is new is not", tunnels: []*types.Tunnel{aTunnel("a", living(time.Minute, 5), wasInUse)}, calls: rotated("a")},
		{
			name: "another operator's live session is left alone", tunnels: []*types.Tunnel{aTunnel("a", inUse)},
			calls: []string{"list pi-1", "describe a", "open pi-1 SSH"}, notice: "tunnel a is in use", opened: true,
		},
		{
			name: "unless it is to be taken over", tunnels: []*types.Tunnel{aTunnel("a", inUse)}, config: Config{TakeOver: true},
			calls: tried("a"), notice: "taking over tunnel a",
		},
		{
			name: "one that another Culvert is setting up is left alone", tunnels: []*types.Tunnel{aTunnel("a", living(10*time.Second, 720), ofCulvert)},
			calls: []string{"list pi-1", "describe a", "open pi-1 SSH"}, opened: true,
		},
		{name: "but not if it was connected to before", tunnels: []*types.Tunnel{aTunnel("a", living(10*time.Second, 720), ofCulvert, wasInUse)}, calls: rotated("a")},
		{name: "nor if it has been like that for a while", tunnels: []*types.Tunnel{aTunnel("a", living(2*time.Minute, 720), ofCulvert)}, calls: rotated("a")},
		{
			name: "one whose token is still on its way by hand is left alone", tunnels: []*types.Tunnel{aTunnel("a", living(4*time.Minute, 720))},
			calls: []string{"list pi-1", "describe a", "open pi-1 SSH"}, notice: "tunnel a was opened 4m0s ago and its token is not used yet", opened: true,
		},
		{name: "but not for long", tunnels: []*types.Tunnel{aTunnel("a", living(6*time.Minute, 720))}, calls: rotated("a")},
		{name: "nor if it is to be taken over", tunnels: []*types.Tunnel{aTunnel("a", living(time.Minute, 720))}, config: Config{TakeOver: true}, calls: tried("a")},
		{
			name: "one that another operator connects to meanwhile is left alone", tunnels: []*types.Tunnel{aTunnel("a")}, other: inUse,
			calls: append(rotated("a"), "open pi-1 SSH"), notice: "another operator was faster with tunnel a", opened: true,
		},
		{
			name: "even if the rotation ends that one's connection", tunnels: []*types.Tunnel{aTunnel("a")}, other: wasInUse,
			calls: append(rotated("a"), "open pi-1 SSH"), notice: "another operator was faster with tunnel a", opened: true,
		},
		{
			name: "and one that is closed meanwhile", tunnels: []*types.Tunnel{aTunnel("a")}, other: closed,
			calls: append(rotated("a"), "open pi-1 SSH"), opened: true,
		},
		{
			name: "one that cannot be rotated leads to another", tunnels: []*types.Tunnel{aTunnel("a")}, fail: map[string]error{"rotate": apiError("InternalFailureException")},
			calls: append(tried("a"), "open pi-1 SSH"), notice: "tunnel a cannot be rotated (InternalFailureException)", opened: true,
		},
		{
			name: "but not if rotating is forbidden", tunnels: []*types.Tunnel{aTunnel("a")}, fail: map[string]error{"rotate": apiError("AccessDeniedException")},
			calls: tried("a"), err: "AccessDeniedException",
		},
		{
			name: "nor after too many calls", tunnels: []*types.Tunnel{aTunnel("a")}, fail: map[string]error{"rotate": apiError("ThrottlingException")},
			calls: tried("a"), err: "ThrottlingException",
		},
		{
			name: "a caller who may not describe is told so", tunnels: []*types.Tunnel{aTunnel("a")}, fail: map[string]error{"describe": apiError("AccessDeniedException")},
			calls: []string{"list pi-1", "describe a"}, err: "AccessDeniedException",
		},
		{name: "a new one if that is wanted", tunnels: []*types.Tunnel{aTunnel("a")}, config: Config{New: true}, calls: []string{"list pi-1", "open pi-1 SSH"}, opened: true},
		{name: "also for a caller who may not list", fail: map[string]error{"list": apiError("AccessDeniedException")}, config: Config{New: true}, calls: []string{"list pi-1", "open pi-1 SSH"}, opened: true},
		{
			name: "lifetime and services of a new one", config: Config{Lifetime: 90 * time.Minute}, wanted: []string{"SSH", "HTTP"},
			calls: []string{"list pi-1", "open pi-1 SSH,HTTP 90"}, opened: true, life: "90 min",
		},
		{name: "a full account", fail: map[string]error{"open": apiError("LimitExceededException")}, calls: []string{"list pi-1", "open pi-1 SSH"}, err: "LimitExceededException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			api, news := &scripted{tunnels: tt.tunnels, fail: tt.fail, onRotate: tt.other}, &told{}
			cfg := tt.config
			cfg.API, cfg.Region, cfg.Progress = api, "eu-west-1", news.event
			wanted := tt.wanted
			if wanted == nil {
				wanted = []string{"SSH"}
			}
			if err := cfg.check("pi-1", wanted); err != nil {
				t.Fatal(err)
			}
			f := &finder{Config: &cfg, thing: "pi-1", wanted: wanted, skip: map[string]bool{}}
			found, err := f.find(context.Background())
			// Each page holds one tunnel.
			calls := tt.calls
			if n := len(tt.tunnels); n > 1 && !tt.config.New && strings.Count(strings.Join(calls, " "), "list") != n {
				t.Fatal("the test expects another number of pages")
			}
			if d := cmp.Diff(calls, api.asked()); d != "" {
				t.Errorf("calls (-want +got):\n%s", d)
			}
			texts := news.texts(Notice)
			life := "12 h"
			if tt.life != "" {
				life = tt.life
			}
			charged := slices.Index(texts, "opening a tunnel to pi-1 for "+life+", which AWS charges for")
			if opens := strings.Contains(strings.Join(calls, " "), "open "); opens != (charged >= 0) {
				t.Errorf("told %q", texts)
			}
			if charged >= 0 {
				texts = slices.Delete(texts, charged, charged+1)
			}
			if notices := strings.Join(texts, "\n"); (tt.notice == "") != (notices == "") || !strings.Contains(notices, tt.notice) {
				t.Errorf("told %q, want %q", notices, tt.notice)
			}
			if tt.err != "" || err != nil {
				if err == nil || apiCode(err) != tt.err {
					t.Errorf("error %v, want %s", err, tt.err)
				}
				return
			}
			if found.opened != tt.opened || found.token.Reveal() != "token-of-"+found.id {
				t.Errorf("found %+v", found)
			}
		})
	}
}

func TestWhatCannotBeIsSaidBeforeAnyCall(t *testing.T) {
	tests := []struct {
		name, thing string
		services    []string
		config      Config
		want        string
	}{
		{"a name that is none", "a b", []string{"SSH"}, Config{}, "name of a thing"},
		{"a service that is none", "a", []string{"SSH."}, Config{}, "name of a service"},
		{"no service", "a", nil, Config{}, "no service"},
		{"half a minute", "a", []string{"SSH"}, Config{Lifetime: 30 * time.Second}, "whole minutes"},
		{"more than 12 hours", "a", []string{"SSH"}, Config{Lifetime: 13 * time.Hour}, "whole minutes"},
		{"a version that is none", "a", []string{"SSH"}, Config{Destination: "V4"}, "V4"},
		{"V1 for two services", "a", []string{"SSH", "HTTP"}, Config{Destination: V1}, "one service"},
		{"no region", "a", []string{"SSH"}, Config{}, "region"},
		{"a region that is none", "a", []string{"SSH"}, Config{Region: "x/y"}, "region"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			api := &scripted{}
			tt.config.API = api
			_, err := Open(context.Background(), tt.config, tt.thing, tt.services...)
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(api.asked()) > 0 {
				t.Errorf("error %v, want %q; calls %v", err, tt.want, api.asked())
			}
		})
	}
}

func TestNoTunnelIsOpenedToAThingThatIsNone(t *testing.T) {
	for _, tt := range []struct {
		name, thing string
		exists      bool
		err         error
		want        string // in the hint; "" for a tunnel
	}{
		{"a thing", "pi-1", true, nil, ""},
		{"no thing", "pi-9", false, nil, "check the name"},
		{"a host and port", "pi-1:22", false, nil, "culvert connect pi-1 SSH=22"},
		{"a caller who may not ask", "pi-1", false, apiError("AccessDeniedException"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := &scripted{}
			cfg := Config{API: api, Region: "eu-west-1", ThingExists: func(context.Context, string) (bool, error) { return tt.exists, tt.err }}
			if err := cfg.check(tt.thing, []string{"SSH"}); err != nil {
				t.Fatal(err)
			}
			_, err := (&finder{Config: &cfg, thing: tt.thing, wanted: []string{"SSH"}}).find(t.Context())
			opened := strings.Contains(strings.Join(api.asked(), " "), "open")
			if opened != (tt.want == "") || !strings.Contains(hint.Of(err), tt.want) {
				t.Errorf("opened: %v; error %v, hint %q", opened, err, hint.Of(err))
			}
		})
	}
}

// A tunnel is looked at again after a wait for the device: another operator may have come.
func TestATunnelMayBeTakenWhileTheDeviceIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		api, news := &scripted{tunnels: []*types.Tunnel{aTunnel("a")}}, &told{}
		api.onDescribe = func(d *types.Tunnel) {
			if time.Since(began) > 5*time.Second {
				d.SourceConnectionState = &types.ConnectionState{Status: types.ConnectionStatusConnected, LastUpdatedAt: aws.Time(time.Now())}
			}
		}
		cfg := Config{
			API: api, Region: "eu-west-1", Progress: news.event, WaitForAway: true,
			Presence: func(context.Context, string) (presence.State, error) {
				return presence.State{Known: true, Connected: time.Since(began) > 20*time.Second, Since: began}, nil
			},
		}
		if err := cfg.check("pi-1", []string{"SSH"}); err != nil {
			t.Fatal(err)
		}
		f := &finder{Config: &cfg, thing: "pi-1", wanted: []string{"SSH"}, skip: map[string]bool{}}
		f.lookOut(t.Context())
		if _, err := f.find(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"list pi-1", "describe a", "describe a", "open pi-1 SSH"}, api.asked()); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
	})
}
