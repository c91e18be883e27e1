package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/proxy"
)

func TestStatusFollowsTheSession(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.script("TOKEN-a", step{err: errNetwork}, step{stands: time.Minute, err: errClosed}, step{err: refusal(503, "busy")})
		start := time.Now()
		w.counts = proxy.Stats{Services: []proxy.ServiceStats{
			{Service: "SSH", Connections: 2, Total: 3, BytesIn: 10, BytesOut: 20, Refused: 1, LastError: "refused", LastErrorAt: start}, {Service: "HTTP", Total: 1},
		}}
		m := w.manager(func(c *Config) { c.Random = func() float64 { return 0.5 } })
		services := func(times uint64, now int) []ServiceStatus {
			return []ServiceStatus{
				{
					Service: "SSH", Connections: now, Total: 3 * times, BytesIn: 10 * times, BytesOut: 20 * times,
					Refused: times, LastError: "refused", LastErrorAt: start,
				},
				{Service: "HTTP", Total: times},
			}
		}
		want := Status{
			Session: token("a").AccessToken.ID(), State: Waiting, Since: start, Received: start, NextAttempt: start.Add(375 * time.Millisecond),
			Attempts: 1, Region: "eu-west-1", Endpoint: "wss://data.tunneling.iot.eu-west-1.amazonaws.com",
			Services: services(1, 0), LastError: errNetwork.Error(), LastErrorAt: start,
		}
		check := func(what string) {
			t.Helper()
			if diff := cmp.Diff([]Status{want}, m.Status()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		accept(t, m, "a", Accepted)
		check("after a failed handshake")

		pass(375 * time.Millisecond)
		connected := start.Add(375 * time.Millisecond)
		want.State, want.Since, want.NextAttempt = Connected, connected, time.Time{}
		want.Attempts, want.Connects, want.ChannelID, want.Subprotocol, want.LastError = 2, 1, "channel-2", "aws.iot.securetunneling-3.0", ""
		want.LastErrorAt = time.Time{} // a connect clears it
		want.Services = services(2, 2)
		check("connected")

		pass(time.Minute)
		lost := connected.Add(time.Minute)
		want.State, want.Since, want.NextAttempt = Waiting, lost, lost.Add(375*time.Millisecond)
		want.Services, want.LastError, want.LastErrorAt = services(2, 0), "the tunnel service closed the websocket with code 1000: bye", lost
		check("lost")
		line := w.logs.lines("tunnel lost")
		if len(line) != 1 || field(line[0], "error") != want.LastError || field(line[0], "delay") != "375ms" {
			t.Errorf("the loss is logged as %q", line)
		}

		pass(375 * time.Millisecond)
		want.Since, want.NextAttempt = lost.Add(375*time.Millisecond), lost.Add(1000*time.Millisecond)
		want.Attempts, want.ChannelID, want.Services = 3, "channel-of-refusal", services(3, 0)
		want.LastErrorAt = lost.Add(375 * time.Millisecond)
		want.LastError = "the tunnel service answered 503 Service Unavailable: busy (channel-id channel-of-refusal)"
		check("refused for the moment")
	})
}

// A hostile relay may bring new names with each websocket.
func TestTheServicesThatASessionCountsAreBounded(t *testing.T) {
	var all []ServiceStatus
	for i := range 1000 {
		all = merge(all, proxy.Stats{Services: []proxy.ServiceStats{{Service: fmt.Sprint("N", i), Total: 1}, {Service: "SSH", Total: 1}}})
	}
	if len(all) != maxCounted || all[1].Service != "SSH" || all[1].Total != 1000 {
		t.Errorf("%d services are counted; %+v", len(all), all[:2])
	}
}

func TestTheLastFiveEndedSessionsAreShown(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager()
		accept(t, m, "live", Accepted)
		for _, name := range []string{"1", "2", "3", "4", "5", "6", "7"} {
			w.script("TOKEN-"+name, step{err: refusal(400, "no "+name)})
			accept(t, m, name, Accepted)
			pass(time.Second)
		}
		want := []string{"live", "7", "6", "5", "4", "3"}
		got := m.Status()
		if len(got) != len(want) {
			t.Fatalf("%d sessions are shown, want %d", len(got), len(want))
		}
		for i, name := range want {
			if got[i].Session != token(name).AccessToken.ID() {
				t.Errorf("place %d is not %s", i, name)
			}
		}
	})
}
