package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// fault is one thing that goes wrong with the device's websocket.
type fault struct {
	name string
	bed  bedOptions
	// fire makes it happen and returns when the fault is over.
	fire func(b *bed)
	// stays: connections that stand do not notice.
	stays bool
	// limit is until when a new connection works, from the end of the fault on.
	limit time.Duration
	// says is what the daemon's log has of it.
	says string
	// after checks what else must hold.
	after func(b *bed)
}

// once is the limit for faults that are over with the next attempt, which comes within half a second; the rest is for
// a busy machine.
const once = 10 * time.Second

// waits lets time pass, for faults that last.
func waits(d time.Duration) { <-time.After(d) }

func cut(b *bed) { b.box.Relay.Faults().Cut(destinationSide) }

func refused(r relay.Refusal) func(*bed) {
	return func(b *bed) {
		b.box.Relay.Faults().Refuse(destinationSide, r)
		cut(b)
	}
}

// websocketFaults are those from which each attempt to recover is over within seconds.
func websocketFaults() []fault {
	elsewhere := new(atomic.Int32) // requests at the address of a redirect
	list := []fault{
		{name: "reset", fire: cut, limit: once, says: "tunnel lost"},
		{name: "three resets in a row", limit: once, fire: func(b *bed) {
			cut(b)
			for range 2 {
				mark := b.device.mark()
				if b.foreign {
					b.back(once)
				} else {
					b.device.waitLogFrom(b.t, mark, "tunnel connected", once)
				}
				cut(b)
			}
		}},
		{name: "end of TCP without a close frame", limit: once, bed: bedOptions{endpoint: cable}, fire: func(b *bed) { wireOf(b).end(true) }, says: "without a close frame"},
		{name: "handshakes answered after 2 s", limit: once, fire: func(b *bed) {
			b.box.Relay.Faults().Set(destinationSide, relay.Conditions{SlowHandshake: 2 * time.Second})
			cut(b)
		}},
		{name: "three times 503", fire: refused(relay.Refusal{Count: 3}), limit: 20 * time.Second, says: "503 Service Unavailable"},
		{name: "500, 502, 504", limit: 20 * time.Second, says: "502 Bad Gateway", fire: func(b *bed) {
			for _, status := range []int{500, 502, 504} {
				b.box.Relay.Faults().Refuse(destinationSide, relay.Refusal{Count: 1, Status: status, Body: "<html>no</html>"})
			}
			cut(b)
		}},
		{name: "503 with Retry-After: 3", fire: refused(relay.Refusal{Count: 1, RetryAfter: "3"}), limit: once, says: "(retry after 3s)", after: waited(3 * time.Second)},
		{name: "429 with Retry-After: 3", fire: refused(relay.Refusal{Count: 1, Status: 429, RetryAfter: "3"}), limit: once, says: "429 Too Many Requests", after: waited(3 * time.Second)},
		{name: "404 once, of a pair that has worked", fire: refused(relay.Refusal{Count: 1, Status: 404}), limit: 20 * time.Second, says: "404 Not Found", after: waited(5 * time.Second)},
		{
			name: "redirect", limit: once, says: "302 Found",
			fire: func(b *bed) {
				s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
				b.t.Cleanup(s.Close)
				refused(relay.Refusal{Count: 1, Status: 302, Header: map[string]string{"Location": s.URL + "/tunnel"}})(b)
			},
			after: func(b *bed) {
				if n := elsewhere.Load(); n != 0 {
					b.t.Errorf("a redirect was followed %d times: its target gets the token", n)
				}
			},
		},
		{name: "wrong subprotocol", limit: once, says: "which was not offered", fire: func(b *bed) {
			b.box.Relay.Faults().Misname(destinationSide, 1, "mqtt")
			cut(b)
		}},
		{name: "answer lost after the token was bound", limit: once, fire: func(b *bed) {
			b.box.Relay.Faults().LoseAnswers(destinationSide, 2)
			cut(b)
		}},
		{name: "close frame", limit: once, says: "closed the websocket with code 1001: going away", fire: func(b *bed) {
			b.box.Relay.Faults().CloseWith(destinationSide, 1001, "going away")
		}},
		{name: "redeploy: all sockets dropped, then three times 503", limit: 20 * time.Second, fire: func(b *bed) {
			b.box.Relay.Faults().Refuse(destinationSide, relay.Refusal{Count: 3})
			b.box.Relay.Faults().DropAll()
		}},
		{name: "session reset", limit: once, says: "session reset", fire: func(b *bed) {
			b.box.Relay.Faults().SendMessage(relay.Target{}, frame.Message{Type: frame.SessionReset})
		}},
		{name: "unrequested pongs, numbers or not", stays: true, limit: once, fire: func(b *bed) {
			for _, payload := range []string{"", "x", "0", "00", "01", "1", "99999999999999999999999", "-1", "0x10", "\xff\x00", strings.Repeat("9", 125)} {
				if n := b.box.Relay.Faults().Pong(destinationSide, payload); n != 1 {
					b.t.Errorf("pong %q met %d connections", payload, n)
				}
				waits(20 * time.Millisecond)
			}
		}},
		{name: "pings of the service", stays: true, limit: once, fire: func(b *bed) {
			for i := range 50 {
				b.box.Relay.Faults().Ping(destinationSide, fmt.Sprint("ping ", i))
			}
		}},
		{name: "2 s without a packet", stays: true, limit: once, bed: bedOptions{endpoint: cable}, fire: func(b *bed) {
			wireOf(b).drop(true)
			waits(2 * time.Second)
			wireOf(b).drop(false)
		}},
	}
	for name, ending := range map[string]relay.Ending{
		"with a code": {Code: 1011, Reason: "no"}, "without a code": {}, "without a close frame": {Bare: true},
	} {
		list = append(list, fault{name: "ended before SERVICE_IDS, twice, " + name, limit: once, fire: func(b *bed) {
			b.box.Relay.Faults().EndEarly(destinationSide, 2, ending)
			cut(b)
		}})
	}
	return list
}

// waited checks that the daemon waited at least that time before its next attempt.
func waited(least time.Duration) func(*bed) {
	return func(b *bed) {
		if took := b.traffic.outage(); !b.foreign && took < least {
			b.t.Errorf("back after %v, though %v were to be waited", took, least)
		}
	}
}

// play fires a fault and returns how long it took until a new connection worked.
func (f fault) play(b *bed) time.Duration {
	b.t.Helper()
	mark := b.device.mark()
	b.traffic.fault()
	f.fire(b)
	took := b.back(f.limit)
	b.traffic.healed()
	if f.says != "" && !b.foreign {
		b.device.waitLogFrom(b.t, mark, f.says, 5*time.Second)
	}
	if f.stays && b.traffic.stands() != standingConnections {
		b.t.Error("connections that stood have ended")
	}
	if !f.stays {
		eventually(b.t, 20*time.Second, "connections that stood end for the client too", func() bool { return b.traffic.stands() == 0 })
	}
	if f.after != nil {
		f.after(b)
	}
	b.traffic.stop(b.t)
	return took
}

func TestFaultsOfTheWebsocket(t *testing.T) {
	t.Parallel()
	for _, f := range websocketFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			b := startBed(t, f.bed)
			t.Logf("time back: %v", f.play(b))
			if log := b.device.log(); strings.Contains(log, "tunnel ended") {
				t.Error("the session has ended, though its token is valid")
			}
		})
	}
}

// The service documents no close codes, so none of them ends a session. One device gets all of them at once, each in
// its own tunnel.
func TestEveryCloseCode(t *testing.T) {
	t.Parallel()
	var codes []int
	for code := 1000; code <= 1013; code++ { // 1014 is unknown to the sandbox's websocket library
		if code != 1004 && code != 1005 && code != 1006 { // which no frame may carry
			codes = append(codes, code)
		}
	}
	codes = append(codes, 0, 3000, 3999, 4000, 4001, 4999) // 0: a frame without a code
	b := startBed(t, bedOptions{edit: func(t *testing.T, b *bed) {
		b.config = configWith(t, b.config, "[tunnel]\n", "[tunnel]\nmax_tunnels = 64\n")
	}})
	type one struct {
		code     int
		id       string
		token    string
		operator *operatorSide
	}
	var all []one
	for _, code := range codes {
		o := openTunnel(t, b.box, b.device, "ECHO")
		all = append(all, one{code, o.Tunnel.ID, o.DestinationToken, startOperator(t, b.box, o.SourceToken)})
	}
	works := func(o one) func() bool {
		return func() bool {
			c, err := o.operator.connect(time.Second, "ECHO")
			if err != nil {
				return false
			}
			defer c.Close()
			return exchangeByteWithin(c, time.Second) == nil
		}
	}
	for _, o := range all {
		eventually(t, 20*time.Second, "each tunnel works", works(o))
	}
	mark := b.device.mark()
	start := time.Now()
	for _, o := range all {
		if n := b.box.Relay.Faults().CloseWith(relay.Target{Tunnel: o.id, Side: tunnels.Destination}, o.code, "see you"); n != 1 {
			t.Errorf("code %d met %d connections", o.code, n)
		}
	}
	for _, o := range all {
		b.device.waitLogFrom(t, mark, "tunnel connected "+sessionOf(o.token), once)
		eventually(t, once, fmt.Sprintf("the tunnel works after code %d", o.code), works(o))
	}
	t.Logf("%d tunnels, each closed with another code, were back after %v", len(all), time.Since(start).Round(time.Millisecond))
	for _, o := range all {
		want := "the tunnel service closed the websocket"
		if o.code != 0 {
			want += fmt.Sprintf(" with code %d: see you", o.code)
		}
		if !strings.Contains(b.device.log()[mark:], want) {
			t.Errorf("code %d is not in the log", o.code)
		}
	}
	if log := b.device.log(); strings.Contains(log, "tunnel ended") {
		t.Error("a close code has ended a session")
	}
	b.traffic.stop(t) // of the tunnel that was not closed
}

// A service that accepts and drops at once is the worst case for back-off: each attempt looks like a success.
func TestAServiceThatAcceptsAndDropsMeetsNoStorm(t *testing.T) {
	t.Parallel()
	b := startBed(t, bedOptions{})
	b.traffic.fault()
	before := b.handshakes(b.tunnel.DestinationToken)
	b.box.Relay.Faults().EndEarly(destinationSide, 1_000_000, relay.Ending{Code: 1011})
	cut(b)
	const watched = 6 * time.Second
	waits(watched)
	n := b.handshakes(b.tunnel.DestinationToken) - before
	t.Logf("%d handshakes in %v", n, watched)
	// Delays of at least a quarter of a second, whose bound doubles from half a second to 8 s: 10 in that time would need
	// draws that come once in thousands of years.
	if n < 2 || n > 12 {
		t.Errorf("%d handshakes in %v", n, watched)
	}
	b.box.Relay.Faults().Clear()
	t.Logf("time back: %v", b.back(30*time.Second))
	b.traffic.healed()
	b.traffic.stop(t)
}

// Many devices that lose a service together must not reconnect together.
func TestARedeployIsNotAnsweredAllAtOnce(t *testing.T) {
	t.Parallel()
	const count = 40
	b := startBed(t, bedOptions{silent: true, edit: func(t *testing.T, b *bed) {
		b.config = configWith(t, b.config, "[tunnel]\n", "[tunnel]\nmax_tunnels = 64\n")
	}})
	for range count {
		openTunnel(t, b.box, b.device, "ECHO")
	}
	connected := func(mark int) int {
		return strings.Count(b.device.log()[mark:], " tunnel connected ")
	}
	eventually(t, 30*time.Second, "all tunnels stand", func() bool { return connected(0) >= count+1 })
	mark := b.device.mark()
	start := time.Now()
	// The relay may not know of the last one yet, whose handshake it has just answered.
	dropped := b.box.Relay.Faults().Cut(destinationSide)
	if dropped < count*3/4 {
		t.Fatalf("%d connections met, want about %d", dropped, count+1)
	}
	var first, half time.Duration
	eventually(t, 30*time.Second, "all tunnels are back", func() bool {
		n := connected(mark)
		switch since := time.Since(start); {
		case n > 0 && first == 0:
			first = since
		case n > dropped/2 && half == 0:
			half = since
		}
		return n >= dropped
	})
	all := time.Since(start)
	t.Logf("%d tunnels: the first was back after %v, half of them after %v, all after %v", dropped, first.Round(time.Millisecond), half.Round(time.Millisecond), all.Round(time.Millisecond))
	// When each is back depends on the machine, too. What the daemon chose to wait is in its log: a quarter of a second at
	// least and half of one at most.
	var delays []time.Duration
	for _, m := range regexp.MustCompile(`tunnel lost .* delay=(\S+)`).FindAllStringSubmatch(b.device.log()[mark:], -1) {
		d, err := time.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		delays = append(delays, d)
	}
	if len(delays) != dropped {
		t.Fatalf("%d losses are logged, want %d", len(delays), dropped)
	}
	least, most := slices.Min(delays), slices.Max(delays)
	t.Logf("their delays were %v to %v", least, most)
	if least < 250*time.Millisecond || most > 500*time.Millisecond || most-least < 100*time.Millisecond || first < 240*time.Millisecond {
		t.Errorf("delays of %v to %v, the first back after %v: not spread", least, most, first)
	}
}
