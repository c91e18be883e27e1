package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/trust"
)

func TestTheEventsOfAConfigurationAreThoseThatHappen(t *testing.T) {
	var kinds []string
	for _, k := range session.EventKinds() {
		kinds = append(kinds, string(k))
	}
	if diff := cmp.Diff(kinds, config.HookEvents); diff != "" {
		t.Error(diff)
	}
}

func TestTheFactsOfAnEvent(t *testing.T) {
	e := session.Event{
		Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Session: "ba7816bf", ChannelID: "ab$(reboot)\n;c", Region: "eu-west-1",
		Services: []string{"SSH", "HTTP"}, Connections: 3, Service: "SSH", Target: "127.0.0.1:22", Stream: -7, Connection: 2,
		BytesIn: 10, BytesOut: 20, Duration: 1234567 * time.Microsecond, Reason: "peer",
	}
	common := "CULVERT_TIME=2026-03-01T12:00:00Z CULVERT_THING=pi-42 CULVERT_SESSION=ba7816bf CULVERT_CHANNEL_ID=ab__reboot___c CULVERT_REGION=eu-west-1 "
	conn := "CULVERT_SERVICE=SSH CULVERT_TARGET=127.0.0.1:22 CULVERT_STREAM=-7 CULVERT_CONNECTION=2"
	closed := " CULVERT_BYTES_IN=10 CULVERT_BYTES_OUT=20 CULVERT_DURATION=1.235 CULVERT_REASON=peer"
	for kind, want := range map[session.EventKind]string{
		session.TunnelOpened:     common + "CULVERT_SERVICES=SSH,HTTP",
		session.TunnelClosed:     common + "CULVERT_SERVICES=SSH,HTTP CULVERT_CONNECTIONS=3" + closed,
		session.ConnectionOpened: common + conn,
		session.ConnectionClosed: common + conn + closed,
	} {
		e.Kind = kind
		if diff := cmp.Diff(want, strings.Join(hookFacts("pi-42", e), " ")); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
}

// The guide's table is what people write their commands by.
func TestTheGuideListsEveryFact(t *testing.T) {
	guide, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range session.EventKinds() {
		for _, fact := range hookFacts("t", session.Event{Kind: kind}) {
			if name, _, _ := strings.Cut(fact, "="); !strings.Contains(string(guide), "`"+name+"`") {
				t.Errorf("docs/configuration.md does not name %s", name)
			}
		}
	}
}

func TestTheHookRunsWhenATunnelComesAndGoesAlsoAtTheDaemonsEnd(t *testing.T) {
	if err := trust.Executable("/bin/sh"); err != nil {
		t.Skip(err)
	}
	s := startService(t)
	cfg := testConfig(t, "ws://"+s.address, "SSH = 22\n")
	out := filepath.Join(filepath.Dir(cfg.Path), "events")
	cfg.Hooks.Command = []string{"/bin/sh", "-c", `env | grep ^CULVERT_ | sort | tr "\n" " " >>"$0"; echo >>"$0"`, out}
	cfg.Hooks.Timeout = time.Minute
	events := func() []string {
		data, _ := os.ReadFile(out)
		return slices.DeleteFunc(strings.Split(string(data), "\n"), func(s string) bool { return s == "" })
	}
	d := start(t, cfg)
	if _, err := d.notify(fmt.Sprintf(notification, "")); err != nil {
		t.Fatal(err)
	}
	d.tunnel(session.Connected)
	deadline := time.Now().Add(20 * time.Second)
	for d.status().Hooks.Run < 1 && time.Now().Before(deadline) {
		d.tunnel(session.Connected)
	}
	if got := events(); len(got) != 1 || !strings.Contains(got[0], "CULVERT_EVENT=tunnel_opened") || !strings.Contains(got[0], "CULVERT_CHANNEL_ID=ch-2") {
		t.Fatalf("%q", got)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	// The last command gets half a second, which a loaded machine may need for less than it.
	if h, _ := d.agent.hooks.Status(); h.Failed == 0 && h.Dropped == 0 {
		got := events()
		if len(got) != 2 || !strings.Contains(got[1], "CULVERT_EVENT=tunnel_closed") || !strings.Contains(got[1], "CULVERT_REASON=stopped") {
			t.Errorf("%q", got)
		}
	}
	if strings.Contains(strings.Join(events(), "\n"), "TOKEN") {
		t.Error("the command was told a token")
	}
}

func TestAHookThatHangsDelaysNeitherTunnelsNorTheEnd(t *testing.T) {
	if err := trust.Executable("/bin/sh"); err != nil {
		t.Skip(err)
	}
	s := startService(t)
	cfg := testConfig(t, "ws://"+s.address, "SSH = 22\n")
	cfg.Hooks.Command, cfg.Hooks.Timeout = []string{"/bin/sh", "-c", "sleep 1000"}, time.Hour
	d := start(t, cfg)
	for i := range 5 {
		if _, err := d.notify(fmt.Sprintf(notification, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	d.tunnel(session.Connected)
	begin := time.Now()
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > StopTimeout {
		t.Errorf("the end took %v", took)
	}
}
