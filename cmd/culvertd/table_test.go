package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/hook"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/version"
)

func TestTableOfABusyDevice(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	s := agent.Status{
		Version: version.Info{Version: "v1.2.3"}, PID: 4711, Started: ago(50 * time.Hour), Now: now, Thing: "pi-42",
		MQTT: agent.MQTTStatus{
			Endpoint: "a1b2c3d4-ats.iot.eu-west-1.amazonaws.com:8883", ClientID: "pi-42-tunnel", State: agent.Subscribed, Since: ago(3 * time.Hour),
			LastNotify: ago(5 * time.Minute), LastError: "connection reset by peer", LastErrorAt: ago(4 * time.Hour), AnswersDenied: true,
		},
		Services: []agent.ServiceStatus{
			{Service: "SSH", Target: "127.0.0.1:22", Enabled: true, Connections: 2},
			{Service: "VNC", Target: "10.0.0.7:5900"},
			{Service: "APP", Target: "unix:/run/app.sock", Enabled: true, Connections: 1, MaxConnections: 4, Refused: map[string]uint64{"full": 2, "refused": 1}},
		},
		Limits: agent.Limits{Tunnels: 2, MaxTunnels: 8, TunnelsRefused: 3, UnknownRefused: 7},
		Hooks:  &hook.Status{Command: "/usr/lib/culvert/hook", Run: 12, Failed: 1, LastError: "exit status 3", LastErrorAt: ago(time.Minute)},
		Tunnels: []session.Status{
			{
				Session: "89abcdef", State: session.Ended, Since: ago(time.Hour), Received: ago(2 * time.Hour), Reason: "the service says closed: it cannot be reopened", Hint: "open a new tunnel",
				LastError: "the tunnel service answered 400 Bad Request: closed", LastErrorAt: ago(time.Hour),
				Services: []session.ServiceStatus{{Service: "SSH", LastError: "refused", LastErrorAt: ago(time.Hour)}},
			},
			{Session: "ba7816bf", State: session.Connected, Received: ago(5 * time.Minute), Services: []session.ServiceStatus{
				{Service: "SSH", Connections: 2, BytesIn: 1_234_567, BytesOut: 999},
				{Service: "APP", Connections: 1, BytesIn: 10, BytesOut: 1, LastError: `service "APP" at unix:/run/app.sock refused the connection`, LastErrorAt: ago(2 * time.Minute)},
			}},
			{Session: "01234567", State: session.Waiting, Received: ago(3 * time.Second), NextAttempt: now.Add(12 * time.Second), LastError: "the tunnel service answered 503", LastErrorAt: ago(3 * time.Second)},
		},
	}
	want := strings.TrimPrefix(`
culvertd  v1.2.3, pid 4711, thing pi-42, up 2d
mqtt      subscribed for 3h, a1b2c3d4-ats.iot.eu-west-1.amazonaws.com:8883,
          client id pi-42-tunnel, last notification 5m ago
          last error 4h ago: connection reset by peer
pings     no longer answered, since the connection ended after each answer: the
          policy must allow iot:Publish and iot:RetainPublish on
          topic/culvert/pi-42/pong; then restart culvertd
services  SSH 127.0.0.1:22 (2), VNC 10.0.0.7:5900 (disabled), APP
          unix:/run/app.sock (1 of 4, 3 refused)
hooks     /usr/lib/culvert/hook, 12 run, 1 failed, 0 dropped
          last error 1m ago: exit status 3
tunnels   2 of 8, 3 refused, 7 connections to services that are not configured

SESSION   STATE        AGE  SERVICES                CONNS         IN        OUT
ba7816bf  connected     5m  SSH,APP                     3     1.2 MB     1.0 kB
          APP 2m ago: service "APP" at unix:/run/app.sock refused the connection
01234567  waiting       3s                              0        0 B        0 B
          next attempt in 12s
          last error 3s ago: the tunnel service answered 503
89abcdef  ended         1h  the service says closed: it cannot be reopened; ope…
`, "\n")
	if diff := cmp.Diff(want, table(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Colours leave the text itself unchanged.
	painted := coloured(want)
	if diff := cmp.Diff(want, strings.NewReplacer(green, "", yellow, "", faint, "", plain, "").Replace(painted)); diff != "" {
		t.Errorf("in colours (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		"mqtt      " + green + "subscribed" + plain + " for 3h", yellow + "          last error 4h ago: connection reset by peer" + plain + "\n",
		"\nba7816bf  " + green + "connected" + plain + "     5m  SSH,APP", "\n01234567  " + yellow + "waiting" + plain + "  ",
		"\n" + yellow + "          next attempt in 12s" + plain + "\n", "\n" + faint + "89abcdef  ended ",
	} {
		if !strings.Contains(painted, line) {
			t.Errorf("no %q in %q", line, painted)
		}
	}
}

func TestTheTableFitsEightyColumnsAndCannotSteerATerminal(t *testing.T) {
	long := strings.Repeat("x", 300)
	nasty := "a\x1b[2Jb\r\n\tc" + long
	s := agent.Status{
		Version: version.Info{Version: nasty}, Thing: strings.Repeat("t", 128),
		MQTT:     agent.MQTTStatus{Endpoint: long, ClientID: long, State: "other", LastError: nasty, LastHint: nasty},
		State:    &agent.StateStatus{Directory: nasty, LastError: nasty, Hint: nasty},
		Clock:    &agent.ClockStatus{File: nasty, Error: nasty, Hint: nasty},
		Services: []agent.ServiceStatus{{Service: long, Target: long, Enabled: true}},
		Tunnels: []session.Status{{
			Session: "ba7816bf", State: session.Connecting, LastError: nasty, LastHint: nasty, Reason: nasty, Hint: nasty,
			Services: []session.ServiceStatus{
				{Service: strings.Repeat("s", 128), Connections: 99999, BytesIn: math.MaxUint64, BytesOut: math.MaxUint64, LastError: nasty},
				{Service: "SSH"},
			},
		}, {Session: nasty[:8], State: session.Ended, Reason: "ended", Hint: nasty}},
	}
	for line := range strings.Lines(table(s)) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > width {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.ContainsAny(line, "\x1b\r\t") {
			t.Errorf("%q", line)
		}
	}
}

func TestServiceNamesAreCutToTheColumn(t *testing.T) {
	tests := []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"SSH"}, "SSH"},
		{[]string{"SSH", "HTTP", "VNC"}, "SSH,HTTP,VNC"},
		{[]string{"0123456789", "01234567890"}, "0123456789,01234567890"},
		{[]string{"0123456789", "012345678901"}, "0123456789,+1"},
		{[]string{"SSH", "a-rather-long-service", "x"}, "SSH,+2"},
		{[]string{"a-name-that-is-far-too-long-for-it"}, "a-name-that-is-far-to~"},
		{[]string{"a-name-that-is-far-too-long-for-it", "SSH"}, "a-name-that-is-far~,+1"},
	}
	for _, tt := range tests {
		if got := list(tt.names, 22); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.names, got, tt.want)
		}
	}
}

func TestAges(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m", 59 * time.Minute: "59m", 47 * time.Hour: "47h", 49 * time.Hour: "2d", 9000 * time.Hour: "375d",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestAPictureIsWrittenOverTheOneBefore(t *testing.T) {
	var out strings.Builder
	w := picture{&out, func() int { return 0 }}
	for _, text := range []string{"one\ntwo\nthree\n", "1\n"} {
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	// The second one leaves nothing of the first: neither of its longer lines, nor of those below.
	if want := "\x1b[Hone\x1b[K\ntwo\x1b[K\nthree\x1b[K\n\x1b[J\x1b[H1\x1b[K\n\x1b[J"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestAnErrorInAPictureKeepsItsFirstLine(t *testing.T) {
	var out strings.Builder
	w := picture{&out, func() int { return 0 }}
	hint.Print(w, hint.New("no daemon", "start it"))
	if want := "\x1b[Herror: no daemon\x1b[K\nhint: start it\x1b[K\n\x1b[J"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestAPictureIsCroppedToTheScreen(t *testing.T) {
	for rows, want := range map[int]string{ // the cursor needs one, too
		0: "one two three four five", 6: "one two three four five", 5: "one two three … 2 more lines", 3: "one … 4 more lines",
	} {
		var out strings.Builder
		w := picture{&out, func() int { return rows }}
		if _, err := w.Write([]byte("one\ntwo\nthree\nfour\nfive\n")); err != nil {
			t.Fatal(err)
		}
		got := strings.NewReplacer("\x1b[H", "", "\x1b[K\n", " ", "\x1b[J", "").Replace(out.String())
		if strings.TrimSpace(got) != want {
			t.Errorf("%d rows: %q, want %q", rows, got, want)
		}
	}
}

func TestAWatchShowsAFailureOnceUntilItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answers := []string{"", "stopped", "stopped", "stopped", "refused", "", "stopped"}
		var shown []string
		err := repeat(ctx, func() error {
			if len(answers) == 0 {
				cancel()
				return nil
			}
			text := answers[0]
			answers = answers[1:]
			if text == "" {
				return nil
			}
			return errors.New(text)
		}, func(err error) { shown = append(shown, err.Error()) })
		if want := []string{"stopped", "refused", "stopped"}; err != nil || !slices.Equal(shown, want) {
			t.Errorf("%q, %v; want %q", shown, err, want)
		}
		if err := repeat(t.Context(), func() error { return errors.New("no daemon") }, nil); err == nil {
			t.Error("the first failure does not end the command")
		}
	})
}
