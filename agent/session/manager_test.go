package session

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/secret"
)

func TestATokenBecomesATunnel(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		o := accept(t, m, "a", Accepted)
		got := find(t, m, "a")
		want := Status{
			Session: o.Session, State: Connected, Since: time.Now(), Received: time.Now(), Attempts: 1, Connects: 1,
			Region: "eu-west-1", Endpoint: "wss://data.tunneling.iot.eu-west-1.amazonaws.com", ChannelID: "channel-1",
			Subprotocol: "aws.iot.securetunneling-3.0", Services: []ServiceStatus{{Service: "SSH"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		for _, message := range []string{"tunnel accepted", "tunnel connected"} {
			lines := w.logs.lines(message)
			if len(lines) != 1 || field(lines[0], "level") != "INFO" || field(lines[0], "session") != o.Session {
				t.Errorf("%q is logged as %q", message, lines)
			}
		}
		if line := w.logs.lines("tunnel connected")[0]; field(line, "channel_id") != "channel-1" || field(line, "delay") != "0s" {
			t.Error(line)
		}
	})
}

func TestThePairIsOnDiskBeforeTheFirstHandshakeAndGoneAfterTheEnd(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.script("TOKEN-a", step{stands: time.Minute, err: errClosed}, step{err: refusal(400, "Tunnel is closed")})
		m := w.manager()
		accept(t, m, "a", Accepted)
		pass(time.Hour)
		dials := w.attempts("TOKEN-a")
		if len(dials) != 2 {
			t.Fatalf("%d attempts, want 2", len(dials))
		}
		for i, d := range dials {
			if !slices.Equal(d.onDisk, []string{fileOf("a")}) {
				t.Errorf("at handshake %d the state directory held %q", i, d.onDisk)
			}
		}
		if got := w.files(); !slices.Equal(got, []string{"ended.json"}) {
			t.Errorf("after the end the state directory holds %q", got)
		}
	})
}

func TestEachTokenHasItsOwnClientTokenAndKeepsIt(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
		seen := make(map[string]string)
		m := w.manager(func(c *Config) { c.MaxTunnels = 50 })
		for name := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
			w.script("TOKEN-"+name, step{stands: time.Second, err: errClosed}, step{err: errNetwork})
			accept(t, m, name, Accepted)
			pass(time.Minute)
			dials := w.attempts("TOKEN-" + name)
			if len(dials) != 3 {
				t.Fatalf("%d attempts", len(dials))
			}
			for _, d := range dials {
				if d.client != dials[0].client || !form.MatchString(d.client) {
					t.Errorf("client token %q, the first was %q", d.client, dials[0].client)
				}
			}
			if other, ok := seen[dials[0].client]; ok {
				t.Errorf("%s and %s share a client token", name, other)
			}
			seen[dials[0].client] = name
		}
	})
}

func TestARepeatedTokenChangesNothing(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.script("TOKEN-over", step{err: refusal(400, "no")})
		m := w.manager()
		accept(t, m, "live", Accepted)
		accept(t, m, "over", Accepted)
		pass(time.Minute)
		before := m.Status()
		for range 3 {
			accept(t, m, "live", Known)
			accept(t, m, "over", Known)
		}
		if diff := cmp.Diff(before, m.Status()); diff != "" {
			t.Errorf("a replay changed the status (-before +after):\n%s", diff)
		}

		// And the same after a restart.
		w.close(m)
		m = w.manager()
		if n, err := m.Resume(); err != nil || n != 1 {
			t.Fatalf("%d sessions resumed, want the live one", n)
		}
		pass(0)
		accept(t, m, "live", Known)
		accept(t, m, "over", Known)
		if live, over := len(w.attempts("TOKEN-live")), len(w.attempts("TOKEN-over")); live != 2 || over != 1 {
			t.Errorf("%d handshakes of the live token and %d of the ended one, want 2 and 1", live, over)
		}

		// The memory lasts as long as a tunnel can.
		pass(MaxAge - 2*time.Minute)
		accept(t, m, "over", Known)
		pass(2 * time.Minute)
		accept(t, m, "over", Accepted)
	})
}

func TestTwoRotationsInARow(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		// The service ends the older connection when the newer one stands, and then refuses its pair.
		w.script("TOKEN-1", step{stands: time.Minute, err: errClosed}, step{err: refusal(400, "access token was revoked")})
		w.script("TOKEN-2", step{stands: 5 * time.Second, err: errNetwork}, step{err: refusal(403, "")}, step{err: refusal(403, "")}, step{err: refusal(403, "")}, step{err: refusal(403, "")})
		m := w.manager()
		accept(t, m, "1", Accepted)
		pass(time.Minute)
		accept(t, m, "2", Accepted)
		pass(time.Second)
		accept(t, m, "3", Accepted)
		pass(3 * time.Second)
		for name, want := range map[string]State{"1": Ended, "2": Connected, "3": Connected} {
			if got := find(t, m, name).State; got != want {
				t.Errorf("session %s is %s, want %s", name, got, want)
			}
		}
		pass(2 * time.Minute)
		one, two, three := find(t, m, "1"), find(t, m, "2"), find(t, m, "3")
		if one.Reason != "the service says revoked" || one.Hint != adviceRotate {
			t.Errorf("the first ended: %s", one.Reason)
		}
		if two.State != Ended || two.Attempts != 5 {
			t.Errorf("the second is %s after %d attempts, want ended after 5", two.State, two.Attempts)
		}
		if three.State != Connected || three.Attempts != 1 || !three.Since.Equal(three.Received) {
			t.Errorf("the newest was disturbed: %+v", three)
		}
	})
}

func TestANewTokenEndsNoOtherSession(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		for _, name := range []string{"1", "2", "3"} {
			accept(t, m, name, Accepted)
			pass(time.Hour)
		}
		for _, s := range m.Status() {
			if s.State != Connected || s.Attempts != 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestATokenAboveTheLimitThatReplacesNoneIsRefused(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.script("TOKEN-1", step{stands: time.Hour, err: errClosed}, step{err: refusal(400, "closed")})
		m := w.manager(func(c *Config) { c.MaxTunnels = 2 })
		accept(t, m, "1", Accepted)
		accept(t, m, "2", Accepted)
		accept(t, m, "3", Accepted)
		if got := find(t, m, "3").State; got != Connected {
			t.Errorf("the newest is %s, want a try: it may replace another", got)
		}
		pass(2 * replaceTime)
		const reason = "2 tunnels are live, as many as tunnel.max_tunnels allows"
		const advice = "close one or raise tunnel.max_tunnels, then rotate this tunnel's access tokens"
		if got := find(t, m, "3"); got.State != Ended || got.Reason != reason || got.Hint != advice {
			t.Errorf("it is %s: %s; %s", got.State, got.Reason, got.Hint)
		}
		if lines := w.logs.lines("tunnel refused"); len(lines) != 1 || field(lines[0], "level") != "WARN" || field(lines[0], "reason") != reason+"; "+advice {
			t.Errorf("logged as %q", lines)
		}
		if slices.Contains(w.files(), fileOf("3")) {
			t.Error("the refused token is kept")
		}
		for _, name := range []string{"1", "2"} {
			if got := find(t, m, name); got.State != Connected || got.Attempts != 1 {
				t.Errorf("%s is %s after %d attempts", name, got.State, got.Attempts)
			}
		}
		if live, limit, refused := m.Counts(); live != 2 || limit != 2 || refused != 1 {
			t.Errorf("%d of %d live, %d refused", live, limit, refused)
		}
		pass(time.Hour + time.Minute) // the first one ends
		accept(t, m, "4", Accepted)
		accept(t, m, "5", Accepted)
		m.SetLimits(3, nil)
		pass(time.Minute)
		for _, name := range []string{"2", "4", "5"} {
			if got := find(t, m, name).State; got != Connected {
				t.Errorf("%s is %s", name, got)
			}
		}
		m.SetLimits(1, nil)
		pass(time.Minute)
		if live, _, _ := m.Counts(); live != 3 {
			t.Errorf("%d live after the limit was lowered, want all 3", live)
		}
	})
}

func TestOnlyAllowedRegionsAreAccepted(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager(func(c *Config) { c.Regions = []string{"us-east-1", "cn-north-1"} })
		if o := accept(t, m, "a", Refused); o.Reason != "region eu-west-1 is not in tunnel.regions" {
			t.Errorf("reason %q", o.Reason)
		}
		m.SetLimits(0, []string{"eu-west-1"})
		accept(t, m, "a", Accepted)
		m.SetLimits(0, nil)
		china := m.Accept(Token{AccessToken: secret.New("TOKEN-cn"), Region: "cn-north-1"})
		if china.Result != Accepted || find(t, m, "cn").Endpoint != "wss://data.tunneling.iot.cn-north-1.amazonaws.com.cn" {
			t.Errorf("%+v %+v", china, find(t, m, "cn"))
		}
		hostile := m.Accept(Token{AccessToken: secret.New("TOKEN-x"), Region: "evil.example.com/"})
		if hostile.Result != Refused || !strings.Contains(hostile.Reason, "only a-z, 0-9 and - are allowed") {
			t.Errorf("%+v", hostile)
		}
		if empty := m.Accept(Token{Region: "eu-west-1"}); empty.Result != Refused {
			t.Errorf("an empty token: %+v", empty)
		}
	})
}

func TestAnEndpointOfTheConfigurationIsUsedForAllRegions(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager(func(c *Config) { c.Endpoint = "ws://127.0.0.1:8080" })
		accept(t, m, "a", Accepted)
		if got := find(t, m, "a").Endpoint; got != "ws://127.0.0.1:8080" {
			t.Error(got)
		}
	})
}

func TestASessionEndsTwelveHoursAfterItsNotification(t *testing.T) {
	for name, s := range map[string][]step{
		"while connected":           nil,
		"while waiting to be taken": slices.Repeat([]step{{err: errNetwork}}, 10000),
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.script("TOKEN-a", s...)
				m := w.manager()
				accept(t, m, "a", Accepted)
				pass(12*time.Hour - time.Second)
				if got := find(t, m, "a").State; got == Ended {
					t.Error("ended early")
				}
				pass(time.Second)
				got := find(t, m, "a")
				if got.State != Ended || got.Reason != "the notification is 12 hours old, the longest life of a tunnel" || got.Hint != "open a new tunnel" {
					t.Errorf("%s: %s", got.State, got.Reason)
				}
				if files := w.files(); !slices.Equal(files, []string{"ended.json"}) {
					t.Errorf("the state directory holds %q", files)
				}
			})
		})
	}
}

func TestAnEndNamesTheServicesReasonAndWhatToDo(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.script("TOKEN-a", step{err: refusal(400, "Invalid access token: The access token was previously used and can not be used again.")})
		m := w.manager()
		accept(t, m, "a", Accepted)
		lines := w.logs.lines("tunnel ended")
		if len(lines) != 1 {
			t.Fatalf("%q", lines)
		}
		for name, want := range map[string]string{
			"level": "INFO", "status": "400", "channel_id": "channel-of-refusal", "region": "eu-west-1",
			"reason": "the service refused the token; rotate the tunnel's access tokens to restore it, or open a new tunnel",
			"error":  "the tunnel service answered 400 Bad Request: Invalid access token: The access token was previously used and can not be used again. (channel-id channel-of-refusal)",
		} {
			if got := field(lines[0], name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
	})
}

func TestAServiceThatIsNotConfiguredIsNamedAtOnce(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		tok := token("a")
		tok.Services = []string{"SSH", "ssh"}
		m.Accept(tok)
		lines := w.logs.lines("tunnel names a service that is not configured here")
		if len(lines) != 1 || field(lines[0], "service") != "ssh" || field(lines[0], "reason") != "configured here: HTTP, SSH" {
			t.Errorf("%q", lines)
		}
	})
}

func TestCloseStopsAllAndKeepsThePairs(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow = 2 * time.Second
		w.script("TOKEN-b", slices.Repeat([]step{{err: errNetwork}}, 100)...)
		m := w.manager()
		accept(t, m, "a", Accepted)
		accept(t, m, "b", Accepted)
		pass(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if err := m.Close(ctx); err != nil || time.Since(start) != w.slow {
			t.Errorf("Close: %v after %v, want %v", err, time.Since(start), w.slow)
		}
		want := []string{fileOf("a"), fileOf("b")}
		slices.Sort(want)
		if got := w.files(); !slices.Equal(got, want) {
			t.Errorf("the state directory holds %q, want %q", got, want)
		}
		accept(t, m, "c", Refused)
		if len(w.logs.lines("tunnel ended")) != 0 {
			t.Error("a stop is logged as the end of a tunnel")
		}
	})
}

func TestCloseGivesUpAtItsDeadline(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow = time.Minute
		m := w.manager()
		accept(t, m, "a", Accepted)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		err := m.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "tunnels that have not ended in time: 1") {
			t.Errorf("Close: %v", err)
		}
		pass(time.Minute)
	})
}

func TestTheTargetOfAStreamWithoutAServiceName(t *testing.T) {
	tests := []struct {
		name                         string
		tunnel, notified, configured []string
		want, err                    string
	}{
		{"the tunnel's only service", []string{"SSH"}, []string{"A", "B"}, []string{"A", "B"}, "SSH", ""},
		{"the tunnel's only service, even if it is not configured", []string{"X"}, nil, []string{"SSH"}, "X", ""},
		{"else the notification's only service", nil, []string{"SSH"}, []string{"A", "B"}, "SSH", ""},
		{"else the only one that is configured", nil, nil, []string{"SSH"}, "SSH", ""},
		{"several in the tunnel, one in the notification", []string{"A", "B"}, []string{"A"}, nil, "A", ""},
		{"several everywhere", []string{"A", "B"}, []string{"A", "B"}, []string{"A", "B"}, "", "the tunnel has several services (A, B) and the source named none; open a tunnel with one service, or use a source that speaks V2 or V3"},
		{"nothing is named and several are configured", nil, nil, []string{"A", "B"}, "", "the tunnel and its source name no service and 2 are configured here; open the tunnel with one service"},
		{"nothing at all", nil, nil, nil, "", "the tunnel and its source name no service and 0 are configured here; open the tunnel with one service"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := defaultService(tt.tunnel, tt.notified, tt.configured)
			text := ""
			if err != nil {
				text = hint.Line(err)
			}
			if got != tt.want || text != tt.err {
				t.Errorf("%q, %q; want %q, %q", got, text, tt.want, tt.err)
			}
		})
	}
}
