package relay

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func isTimeout(err error, network *net.Error) bool {
	return errors.As(err, network) && (*network).Timeout()
}

func TestEndsByTheStore(t *testing.T) {
	closeTunnel := func(g *rig) { _ = g.store.Close(g.id, false) }
	rotate := func(g *rig) { _, _ = g.store.Rotate(g.id, tunnels.RotateDestination, nil) }
	tests := []struct {
		name    string
		endings []Ending
		do      func(*rig)
		code    int
	}{
		{"tunnel closed", nil, closeTunnel, 1000},
		{"token rotated", nil, rotate, 1012},
		{"tunnel closed, one code for all", []Ending{{Code: 1001}}, closeTunnel, 1001},
		{"token rotated, one code for all", []Ending{{Code: 1001}}, rotate, 1001},
		{"no code", []Ending{{}}, rotate, websocket.CloseNoStatusReceived},
		{"bare end", []Ending{{Bare: true}}, rotate, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, with(func(c *Config) { c.Endings = tt.endings }))
			d := g.join(dst, "3.0")
			tt.do(g)
			d.ended(tt.code)
			if _, _, err := g.try(dst, "3.0", g.header(dst)); !errors.Is(err, websocket.ErrBadHandshake) {
				t.Errorf("the next handshake: %v", err)
			}
		})
	}
	t.Run("expired", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, inMemory, with(func(c *Config) { c.IdleTimeout, c.Cutting = 24*time.Hour, Straight }))
			began := time.Now()
			d := g.join(dst, "3.0")
			_ = d.ws.SetReadDeadline(time.Time{})
			_, _, err := d.ws.NextReader()
			if !websocket.IsCloseError(err, 1000) || time.Since(began) != tunnels.DefaultLifetime {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	})
	t.Run("endings take turns", func(t *testing.T) {
		g := newRig(t, with(func(c *Config) { c.Endings = []Ending{{Code: 1001}, {Code: 1011}} }))
		for _, code := range []int{1001, 1011, 1001} {
			old := g.join(dst, "3.0")
			r, err := g.store.Rotate(g.id, tunnels.RotateDestination, nil)
			if err != nil {
				t.Fatal(err)
			}
			old.ended(code)
			g.token[dst], g.client[dst] = r.DestinationToken, g.client[dst]+"x"
		}
	})
}

func TestConnectionStatesFollowTheWebsockets(t *testing.T) {
	g := newRig(t)
	d := g.join(dst, "3.0")
	state := func() string {
		r, err := g.store.Describe(g.id)
		if err != nil {
			t.Fatal(err)
		}
		return r.DestinationState.Status
	}
	if got := state(); got != tunnels.Connected {
		t.Errorf("after the handshake: %s", got)
	}
	g.relay.Faults().CloseWith(Target{}, 1001, "bye")
	d.ended(1001)
	if got := state(); got != tunnels.Disconnected {
		t.Errorf("after the end: %s", got)
	}
}

func TestCutResetsTheConnection(t *testing.T) {
	g := newRig(t)
	d, s := g.streaming()
	if n := g.relay.Faults().Cut(Target{Side: dst}); n != 1 {
		t.Errorf("cut %d", n)
	}
	var m frame.Message
	if err := d.frames.Next(&m); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("destination: %v", err)
	}
	s.expect(reset("SSH", 1))
	if n := g.relay.Faults().DropAll(); n != 1 {
		t.Errorf("dropped %d", n)
	}
	s.ended(0)
}

func TestABlackHoleHoldsEverythingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory, with(func(c *Config) { c.Cutting = Straight })) // which keeps exact time
		d, s := g.join(dst, "3.0"), g.join(src, "3.0")
		f := g.relay.Faults()
		s.send(start("SSH", 1, 1))
		d.expect(start("SSH", 1, 1))
		f.Set(Target{Side: dst}, Conditions{BlackHole: true})
		d.send(data("SSH", 1, 1, "up")) // swallowed by the reader that waits already
		s.send(data("SSH", 1, 1, "down"))
		time.Sleep(50 * time.Second)
		f.Set(Target{Side: dst}, Conditions{})
		d.expect(data("SSH", 1, 1, "down"))
		s.expect(data("SSH", 1, 1, "up"))

		// Too long: the relay drops it, the source hears of it, the destination does not.
		f.Set(Target{Side: dst}, Conditions{BlackHole: true})
		began := time.Now()
		s.keepAlive()
		s.wait = 10 * time.Minute
		s.expect(reset("SSH", 1))
		if waited := time.Since(began); waited < 50*time.Second || waited > time.Minute {
			t.Errorf("dropped after %v", waited)
		}
		_ = d.ws.SetReadDeadline(time.Now().Add(10 * time.Minute))
		var timeout net.Error
		if _, _, err := d.ws.NextReader(); !isTimeout(err, &timeout) {
			t.Errorf("the destination noticed: %v", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestAStrandedConnectionIsReplacedWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory)
		old := g.join(dst, "3.0")
		if n := g.relay.Faults().Strand(Target{Side: dst}); n != 1 {
			t.Errorf("stranded %d", n)
		}
		g.relay.Faults().Clear()
		g.join(dst, "3.0")
		_ = old.ws.SetReadDeadline(time.Now().Add(10 * time.Minute))
		var timeout net.Error
		if _, _, err := old.ws.NextReader(); !isTimeout(err, &timeout) {
			t.Errorf("the stranded connection noticed: %v", err)
		}
	})
}

func TestTheSamePairWaitsUntilTheOldConnectionIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory, func(c *rigConfig) { c.behaviour.SamePairWaits = true })
		g.join(dst, "3.0")
		g.relay.Faults().Strand(Target{})
		time.Sleep(59 * time.Second)
		if _, _, err := g.try(dst, "3.0", g.header(dst)); !errors.Is(err, websocket.ErrBadHandshake) {
			t.Errorf("within the idle time: %v", err)
		}
		time.Sleep(2 * time.Second)
		g.join(dst, "3.0")
	})
}

func TestDelayIsALatencyAndNoThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory, with(func(c *Config) { c.Cutting = Straight }))
		d, s := g.streaming()
		g.relay.Faults().Set(Target{Side: dst}, Conditions{Delay: 100 * time.Millisecond})
		began := time.Now()
		for range 10 {
			s.send(data("SSH", 1, 1, "x"))
			time.Sleep(10 * time.Millisecond)
		}
		for i := range 10 {
			d.expect(data("SSH", 1, 1, "x"))
			if got, want := time.Since(began), time.Duration(100+10*i)*time.Millisecond; got != want {
				t.Errorf("message %d came after %v, want %v", i, got, want)
			}
		}
		began = time.Now()
		d.send(data("SSH", 1, 1, "y"))
		s.expect(data("SSH", 1, 1, "y"))
		if got := time.Since(began); got != 100*time.Millisecond {
			t.Errorf("the other way took %v", got)
		}
	})
}

func TestRateLimit(t *testing.T) {
	for _, tt := range []struct {
		name   string
		c      Conditions
		target Target
		want   time.Duration
	}{
		{"of one side", Conditions{RateLimit: 800_000}, Target{Side: dst}, time.Second},
		{"of both", Conditions{RateLimit: 800_000}, Target{}, time.Second},
		{"shared both ways", Conditions{RateLimit: 800_000, RateShared: true}, Target{}, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, inMemory)
				d, s := g.streaming()
				g.relay.Faults().Set(tt.target, tt.c)
				began := time.Now()
				const frames = 80 // of 10,000 bytes, each way
				piece := data("SSH", 1, 1, strings.Repeat("x", 10_000))
				done := make(chan time.Duration, 2)
				for _, way := range [][2]*script{{s, d}, {d, s}} {
					go func() {
						for range frames {
							way[0].send(piece)
						}
					}()
					go func() {
						for range frames {
							way[1].expect(piece)
						}
						done <- time.Since(began)
					}()
				}
				slowest := max(<-done, <-done)
				if slowest < tt.want*9/10 || slowest > tt.want*11/10 {
					t.Errorf("took %v, want about %v", slowest, tt.want)
				}
			})
		})
	}
}

func TestCommands(t *testing.T) {
	g := newRig(t)
	d, s := g.join(dst, "3.0"), g.join(src, "3.0")
	do := func(want int, command string) {
		t.Helper()
		var c Command
		if err := json.Unmarshal([]byte(command), &c); err != nil {
			t.Fatal(err)
		}
		if met, err := g.relay.Faults().Do(c); err != nil || met != want {
			t.Fatalf("%s: met %d, %v", command, met, err)
		}
	}
	do(1, `{"do":"send_message","side":"destination","message":{"type":"STREAM_START","streamId":9,"serviceId":"NOPE","connectionId":1}}`)
	d.expect(start("NOPE", 9, 1))
	d.send(data("NOPE", 9, 1, "an answer to what was injected is no violation"))
	s.expect(data("NOPE", 9, 1, "an answer to what was injected is no violation"))
	do(1, `{"do":"send_raw","side":"source","data":"AAIIBA=="}`)
	s.expect(frame.Message{Type: frame.SessionReset})
	do(2, `{"do":"set","withhold_pongs":true,"delay":"1ms"}`)
	s.send(start("SSH", 1, 1))
	d.expect(start("SSH", 1, 1))
	do(2, `{"do":"clear"}`)
	pings := make(chan string, 1)
	d.ws.SetPingHandler(func(p string) error { pings <- p; return nil })
	do(1, `{"do":"ping","tunnel":"`+g.id+`","side":"destination","data":"aGk="}`)
	do(1, `{"do":"close","side":"destination","code":1011,"reason":"bye"}`)
	d.ended(1011)
	if got := <-pings; got != "hi" {
		t.Errorf("ping %q", got)
	}
	do(0, `{"do":"refuse","status":502,"count":1}`)
	if _, res, _ := g.try(dst, "3.0", g.header(dst)); res == nil || res.status != 502 {
		t.Errorf("not refused: %+v", res)
	}
	do(0, `{"do":"cut","tunnel":"another"}`)
	do(1, `{"do":"send_raw","side":"source","text":true,"data":"aGk="}`)
	if v := g.relay.Violations(); len(v) != 0 {
		t.Errorf("violations %+v", v)
	}
	for _, bad := range []Command{{Do: "nothing"}, {Do: "set", Delay: "1"}, {Do: "send_message"}, {Do: "send_message", Message: &CommandMessage{Type: "UNKNOWN"}}} {
		if _, err := g.relay.Faults().Do(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	g := newRig(t)
	d, s := g.join(dst, "3.0"), g.join(src, "3.0")
	ends := make(chan int, 2)
	for _, c := range []*script{d, s} {
		go func() { ends <- c.end() }()
	}
	g.relay.Close()
	if a, b := <-ends, <-ends; a != 1001 || b != 1001 {
		t.Errorf("close codes %d and %d", a, b)
	}
	if _, res, _ := g.try(dst, "3.0", g.header(dst)); res == nil || res.status != 503 {
		t.Errorf("a closed relay answers %+v", res)
	}
}

func TestAnUnrequestedPong(t *testing.T) {
	g := newRig(t)
	d := g.join(dst, "3.0")
	got := make(chan string, 1)
	d.ws.SetPongHandler(func(s string) error { got <- s; return nil })
	if n := g.relay.Faults().Pong(Target{Side: dst}, "not a number"); n != 1 {
		t.Errorf("sent to %d", n)
	}
	go func() { _, _, _ = d.ws.NextReader() }()
	if s := <-got; s != "not a number" {
		t.Errorf("pong %q", s)
	}
}
