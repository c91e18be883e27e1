package session

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
)

// local is a target as services gives it.
type local struct{ net.Conn }

func (local) Target() string { return "127.0.0.1:22" }

// facts are the key=value pairs of a log line, without time, level and message.
func facts(line string) string {
	_, rest, _ := strings.Cut(line, "msg=")
	rest = rest[strings.Index(rest[1:], `"`)+2:]
	return strings.TrimSpace(rest)
}

func TestTheTrailOfATunnelAndItsConnections(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.counts = proxy.Stats{Services: []proxy.ServiceStats{{Service: "SSH", Total: 3, BytesIn: 10, BytesOut: 20}}}
		var mu sync.Mutex
		var told []string
		var observer proxy.Observer
		w.script("TOKEN-a", step{stands: time.Hour, err: errClosed}, step{stands: time.Minute, err: errNetwork})
		m := w.manager(func(c *Config) {
			inner := c.NewTunnel
			c.NewTunnel = func(d proxy.DestinationConfig) Tunnel { observer = d.OnConnection; return inner(d) }
			c.Observe = func(e Event) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprintf("%s %s %s %d %d %v %s", e.Kind, e.Service, e.Target, e.BytesIn, e.BytesOut, e.Duration, e.Reason))
			}
		})
		accept(t, m, "a", Accepted)
		ended := observer(proxy.Opened{Service: "SSH", Stream: 7, Connection: 1, Target: local{}})
		pass(time.Minute)
		ended(proxy.Closed{Reason: "peer", BytesIn: 10, BytesOut: 20, Duration: time.Minute})
		idle := observer(proxy.Opened{Service: "SSH", Stream: 7, Connection: 2, Target: local{}})
		idle(proxy.Closed{Reason: "broken", Err: &services.IdleError{Service: "SSH", After: time.Hour}, Duration: time.Hour})
		over := observer(proxy.Opened{Service: "SSH", Stream: 7, Connection: 3, Target: local{}})
		over(proxy.Closed{Reason: "broken", Err: &services.DurationError{Service: "SSH", After: time.Hour}, Duration: time.Hour})
		pass(time.Hour) // and a minute, so that the service has closed it and the next one stands
		w.close(m)

		id := token("a").AccessToken.ID()
		base := " channel_id=channel-1 service=SSH target=127.0.0.1:22 stream=7 connection="
		for message, want := range map[string][]string{
			"connection opened": {"session=" + id + base + "1", "session=" + id + base + "2", "session=" + id + base + "3"},
			"connection closed": {
				"session=" + id + base + "1 bytes_in=10 bytes_out=20 duration=1m0s reason=peer",
				"session=" + id + base + `2 bytes_in=0 bytes_out=0 duration=1h0m0s reason=idle error="service \"SSH\": no byte moved for 1h0m0s (idle_timeout)"`,
				"session=" + id + base + `3 bytes_in=0 bytes_out=0 duration=1h0m0s reason=max_duration error="service \"SSH\": the connection was open for 1h0m0s (max_duration)"`,
			},
			"tunnel connected": {
				"session=" + id + " channel_id=channel-1 region=eu-west-1 services=[SSH] attempt=1 delay=0s",
				"session=" + id + " channel_id=channel-2 region=eu-west-1 services=[SSH] attempt=2 delay=",
			},
			"tunnel closed": {
				"session=" + id + " channel_id=channel-1 region=eu-west-1 services=[SSH] connections=3 bytes_in=10 bytes_out=20 duration=1h0m0s reason=closed error=",
				"session=" + id + " channel_id=channel-2 region=eu-west-1 services=[SSH] connections=3 bytes_in=10 bytes_out=20 duration=",
			},
		} {
			lines := w.logs.lines(message)
			if len(lines) != len(want) {
				t.Errorf("%d lines of %q, want %d:\n%s", len(lines), message, len(want), strings.Join(lines, ""))
				continue
			}
			for i, line := range lines {
				if !strings.HasPrefix(facts(line), want[i]) || !strings.Contains(line, "level=INFO") {
					t.Errorf("%s: %s\nwant %s", message, facts(line), want[i])
				}
			}
		}
		want := []string{
			"tunnel_opened   0 0 0s ",
			"connection_opened SSH 127.0.0.1:22 0 0 0s ", "connection_closed SSH 127.0.0.1:22 10 20 1m0s peer",
			"connection_opened SSH 127.0.0.1:22 0 0 0s ", "connection_closed SSH 127.0.0.1:22 0 0 1h0m0s idle",
			"connection_opened SSH 127.0.0.1:22 0 0 0s ", "connection_closed SSH 127.0.0.1:22 0 0 1h0m0s max_duration",
			"tunnel_closed   10 20 1h0m0s closed", "tunnel_opened   0 0 0s ",
		}
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(want, told[:len(want)]); diff != "" {
			t.Errorf("the observer was told: %s", diff)
		}
		if last := told[len(told)-1]; !strings.HasPrefix(last, "tunnel_closed ") || !strings.HasSuffix(last, " stopped") {
			t.Errorf("the last thing told is %q", last)
		}
	})
}

func TestWhyATunnelWasClosed(t *testing.T) {
	for want, err := range map[string]error{
		ReasonClosed: errClosed, ReasonLost: errNetwork, ReasonStopped: errShutdown, ReasonExpired: errTooOld,
		ReasonViolation: fmt.Errorf("read: %w", proxy.ErrMalformed),
	} {
		if got := tunnelReason(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	if got := tunnelReason(&proxy.ProtocolError{Violation: "x"}); got != ReasonViolation {
		t.Errorf("a violation: %s", got)
	}
	if got := tunnelReason(proxy.ErrDead); got != ReasonLost {
		t.Errorf("silence: %s", got)
	}
}

func TestAFloodOfConnectionsIsSummarized(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var observer proxy.Observer
		var told atomic.Int64
		m := w.manager(func(c *Config) {
			inner := c.NewTunnel
			c.NewTunnel = func(d proxy.DestinationConfig) Tunnel { observer = d.OnConnection; return inner(d) }
			c.Observe = func(Event) { told.Add(1) }
		})
		accept(t, m, "a", Accepted)
		const flood = 5000
		for range flood {
			observer(proxy.Opened{Service: "SSH", Stream: 1, Connection: 1, Target: local{}})(proxy.Closed{Reason: "peer", BytesIn: 1, BytesOut: 2})
		}
		pass(summaryPeriod)
		opened, closed := len(w.logs.lines("connection opened")), len(w.logs.lines("connection closed"))
		if opened != lineBurst || closed != lineBurst {
			t.Errorf("%d lines of opening, %d of closing, want %d each", opened, closed, lineBurst)
		}
		if n := told.Load(); n != 1+2*flood {
			t.Errorf("the observer was told %d times", n)
		}
		lines := w.logs.lines("connections without lines of their own")
		want := fmt.Sprintf("opened=%d closed=%[1]d bytes_in=%[1]d bytes_out=%d", flood-lineBurst, 2*(flood-lineBurst))
		if len(lines) != 1 || facts(lines[0]) != want {
			t.Errorf("the summary is %q, want %q", lines, want)
		}
		// Quiet again: each has its line.
		observer(proxy.Opened{Service: "SSH", Stream: 1, Connection: 1, Target: local{}})(proxy.Closed{Reason: "peer"})
		pass(time.Minute)
		if n := len(w.logs.lines("connection closed")); n != closed+1 {
			t.Errorf("%d lines after the flood", n)
		}
		if n := len(w.logs.lines("connections without lines of their own")); n != 1 {
			t.Errorf("%d summaries", n)
		}
	})
}

// Each line of a connection's end belongs to one of its beginning, and the other way round.
func TestAConnectionHasBothLinesOrNone(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var observer proxy.Observer
		m := w.manager(func(c *Config) {
			inner := c.NewTunnel
			c.NewTunnel = func(d proxy.DestinationConfig) Tunnel { observer = d.OnConnection; return inner(d) }
		})
		accept(t, m, "a", Accepted)
		var ends []func(proxy.Closed)
		for i := range 2 * lineBurst {
			ends = append(ends, observer(proxy.Opened{Service: "SSH", Stream: 1, Connection: uint32(i), Target: local{}}))
		}
		pass(time.Hour)
		for _, end := range ends {
			end(proxy.Closed{Reason: "target"})
		}
		pass(time.Hour)
		begun, over := map[string]bool{}, map[string]bool{}
		for _, line := range w.logs.lines("connection opened") {
			begun[field(line, "connection")] = true
		}
		for _, line := range w.logs.lines("connection closed") {
			over[field(line, "connection")] = true
		}
		if diff := cmp.Diff(begun, over); diff != "" || len(begun) != lineBurst {
			t.Errorf("%d beginnings: %s", len(begun), diff)
		}
	})
}

// Any publisher of notifications can make up tokens.
func TestAFloodOfTokensIsBoundedAndSummarized(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager(func(c *Config) { c.MaxTunnels = 3 })
		for _, good := range []string{"a", "b"} {
			accept(t, m, good, Accepted)
		}
		const flood = 800
		for i := range flood {
			name := fmt.Sprint("bogus", i)
			w.script("TOKEN-"+name, step{err: refusal(400, "no")})
			m.Accept(Token{AccessToken: secret.New("TOKEN-" + name), Region: "eu-west-1", Services: []string{"SSH", "nope"}})
			if i%2 == 0 { // every other one comes while one is live: it is refused
				pass(time.Millisecond)
			}
		}
		pass(time.Minute)
		if n := strings.Count(w.logs.String(), "level=INFO") + strings.Count(w.logs.String(), "level=WARN"); n > 4*lineBurst+50 {
			t.Errorf("%d lines", n)
		}
		if n := len(w.logs.lines("tunnels without lines of their own")); n == 0 || n > 3 {
			t.Errorf("%d summaries", n)
		}
		live, limit, _ := m.Counts()
		if live != 2 || limit != 3 || len(m.Status()) != 2+maxRecent || len(m.store.spent.until) > maxSpent {
			t.Errorf("%d of %d live, %d known as over", live, limit, len(m.store.spent.until))
		}
		for _, good := range []string{"a", "b"} {
			if s := find(t, m, good); s.State != Connected || s.Attempts != 1 {
				t.Errorf("tunnel %s is %s after %d attempts", good, s.State, s.Attempts)
			}
		}
		if n := len(w.files()); n > 4 {
			t.Errorf("%d files in the state directory", n)
		}
		// What comes after the flood is logged as ever.
		pass(time.Minute)
		before := len(w.logs.lines("tunnel accepted"))
		accept(t, m, "c", Accepted)
		if n := len(w.logs.lines("tunnel accepted")); n != before+1 {
			t.Error("a tunnel after the flood has no line")
		}
	})
}

// A publisher of endless tokens, with as many services as a notification may have, fills no disk.
func TestTokensWithoutEndWriteLittle(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager(func(c *Config) { c.StateDir = "" })
		names := make([]string, 64)
		for i := range names {
			names[i] = strings.Repeat("x", 126) + fmt.Sprintf("%02d", i)
		}
		const flood, every = 2000, 100 * time.Millisecond
		for i := range flood {
			name := fmt.Sprint("bogus", i)
			w.script("TOKEN-"+name, step{err: refusal(400, "no")})
			m.Accept(Token{AccessToken: secret.New("TOKEN-" + name), Region: "eu-west-1", Services: names})
			pass(every)
		}
		size := 0
		for line := range strings.Lines(w.logs.String()) {
			if level := field(line, "level"); level == "INFO" || level == "WARN" {
				size += len(line)
			}
		}
		// Some lines of a KB for each of those that have lines, which are a hundred and one a second.
		if most := (lineBurst + tunnelPace*int(flood*every/time.Second)) * 5 << 10; size > most {
			t.Errorf("%d bytes were logged in %v, %d at most are enough", size, flood*every, most)
		}
		if n := len(w.logs.lines("tunnels without lines of their own")); n < 10 {
			t.Errorf("%d summaries", n)
		}
	})
}
