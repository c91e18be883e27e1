package relay

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
)

func TestNoByteIsLostWhateverTheCutting(t *testing.T) {
	const total = 8 << 20
	for _, c := range []struct {
		name string
		Cutting
	}{{"awkward", Awkward}, {"straight", Straight}, {"aligned", Aligned}} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, withServices("SSH", "HTTP"), with(func(cfg *Config) { cfg.Cutting, cfg.Seed = c.Cutting, 1 }))
			d, s := g.join(dst, "3.0"), g.join(src, "3.0")
			s.send(start("SSH", 1, 1), start("HTTP", 2, 1))
			d.expect(start("SSH", 1, 1), start("HTTP", 2, 1))
			before := [2]int{len(d.sizes), len(s.sizes)}
			var frames [2]int
			var work sync.WaitGroup
			for i, way := range [][2]*script{{s, d}, {d, s}} {
				sent, got := sha256.New(), sha256.New()
				work.Go(func() { frames[i] = pour(t, way[0], sent, total, uint64(i)) })
				work.Go(func() { drink(t, way[1], got, total) })
				defer func() {
					if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
						t.Errorf("direction %d: bytes differ", i)
					}
				}()
			}
			work.Wait()
			checkSizes(t, c.Cutting, d.sizes)
			checkSizes(t, c.Cutting, s.sizes)
			if c.Cutting == Aligned && (len(d.sizes)-before[0] != frames[0] || len(s.sizes)-before[1] != frames[1]) {
				t.Errorf("%d and %d messages for %d frames", len(d.sizes), len(s.sizes), frames)
			}
			if v := g.relay.Violations(); len(v) != 0 {
				t.Errorf("violations %+v", v)
			}
		})
	}
}

// pour sends total bytes of payload in frames of random sizes, cut and merged at random into messages.
func pour(t *testing.T, s *script, h hash.Hash, total int, seed uint64) (frames int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 42))
	chacha := rand.NewChaCha8([32]byte{byte(seed)})
	var out []byte
	for total > 0 {
		n := min(total, 1+rng.IntN(frame.MaxPayload))
		if rng.IntN(2) == 0 {
			n = min(n, 100)
		}
		payload := make([]byte, n)
		_, _ = chacha.Read(payload)
		_, _ = h.Write(payload)
		total -= n
		m := frame.Message{Type: frame.Data, StreamID: 1, ServiceID: "SSH", ConnectionID: 1, Payload: payload}
		if rng.IntN(2) == 0 {
			m.StreamID, m.ServiceID = 2, "HTTP"
		}
		var err error
		if out, err = m.AppendFrame(out); err != nil {
			t.Error(err)
			return frames
		}
		frames++
		for len(out) > frame.MaxWebsocketMessage || len(out) > 0 && total == 0 {
			n := 1 + rng.IntN(min(len(out), frame.MaxWebsocketMessage))
			if err := s.ws.WriteMessage(websocket.BinaryMessage, out[:n]); err != nil {
				t.Error(err)
				return frames
			}
			out = out[:copy(out, out[n:])]
		}
	}
	return frames
}

func drink(t *testing.T, s *script, h hash.Hash, total int) {
	t.Helper()
	var m frame.Message
	for total > 0 {
		if err := s.frames.Next(&m); err != nil {
			t.Errorf("%d bytes missing: %v", total, err)
			return
		}
		_, _ = h.Write(m.Payload)
		total -= len(m.Payload)
	}
}

func checkSizes(t *testing.T, c Cutting, sizes []int) {
	t.Helper()
	tiny, merged := 0, 0
	for _, n := range sizes {
		switch {
		case n > frame.MaxWebsocketMessage:
			t.Fatalf("websocket message of %d bytes", n)
		case n > frame.MaxFrame:
			merged++
		case n < 16:
			tiny++
		}
	}
	if c == Awkward && (tiny == 0 || merged == 0) {
		t.Errorf("of %d messages %d are tiny and %d merged: not awkward", len(sizes), tiny, merged)
	}
}

func TestMessagesComeInOrderAndSeenByTheObserver(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	g := newRig(t, with(func(c *Config) {
		c.Observe = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s>%s %v %s", e.From, e.To, e.Message.Type, e.Message.Payload))
		}
	}))
	s := g.join(src, "3.0")
	s.send(start("SSH", 1, 1))
	s.expect(reset("SSH", 1))
	d := g.join(dst, "3.0")
	s.send(start("SSH", 2, 1), data("SSH", 2, 1, "ping"))
	d.expect(start("SSH", 2, 1), data("SSH", 2, 1, "ping"))
	d.send(data("SSH", 2, 1, "pong"))
	s.expect(data("SSH", 2, 1, "pong"))
	want := []string{
		">source SERVICE_IDS ", "source> STREAM_START ", ">source STREAM_RESET ", ">destination SERVICE_IDS ",
		"source>destination STREAM_START ", "source>destination DATA ping", "destination>source DATA pong",
	}
	mu.Lock()
	defer mu.Unlock()
	if got := fmt.Sprint(seen); got != fmt.Sprint(want) {
		t.Errorf("saw\n%v, want\n%v", got, want)
	}
}

func TestAPeerThatDoesNotReadStopsTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 256 << 10
		g := newRig(t, inMemory, with(func(c *Config) { c.Buffer, c.Cutting = buffer, Straight }))
		d, s := g.streaming()
		const frames = 64
		d.keepAlive()
		var sent atomic.Int64
		piece := data("SSH", 1, 1, string(make([]byte, 32<<10)))
		var writer sync.WaitGroup
		writer.Go(func() {
			for range frames {
				s.send(piece)
				sent.Add(1)
			}
		})
		synctest.Wait() // the source is stuck now
		held := int(sent.Load()) * len(piece.Payload)
		if limit := buffer + frame.MaxFrame + readRoom; held > limit || held < buffer/2 {
			t.Errorf("the relay took %d bytes for a peer that does not read, at most %d expected", held, limit)
		}
		// Nor does the source count as idle because no destination listens.
		time.Sleep(3 * time.Minute)
		for range frames {
			var m frame.Message
			if err := d.frames.Next(&m); err != nil {
				t.Fatal(err)
			}
		}
		writer.Wait()
	})
}

func TestIdleConnectionsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory, with(func(c *Config) { c.Cutting = Straight })) // which keeps exact time
		began := time.Now()
		d, s := g.streaming()
		for range 10 { // half of them messages, half of them pings
			time.Sleep(30 * time.Second)
			s.send(data("SSH", 1, 1, "x"))
			d.expect(data("SSH", 1, 1, "x"))
			time.Sleep(30 * time.Second)
			if err := s.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if time.Since(began) == time.Minute {
				// The destination has said nothing for a minute; what it received does not count.
				d.ended(0)
				s.expect(reset("SSH", 1))
				d = g.join(dst, "3.0")
				s.send(start("SSH", 2, 1))
				d.expect(start("SSH", 2, 1))
				d.keepAlive()
			}
		}
	})
}

func TestPongs(t *testing.T) {
	tests := []struct {
		name       string
		policy     PongPolicy
		withSource bool
		side       string
		want       bool
	}{
		{"destination without a source waits", PongsAfterSource, false, "destination", false},
		{"destination once a source was there", PongsAfterSource, true, "destination", true},
		{"source without a destination", PongsAfterSource, false, "source", true},
		{"always", PongsAlways, false, "destination", true},
		{"never", PongsNever, true, "destination", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, inMemory, with(func(c *Config) { c.Pongs = tt.policy }))
				if tt.withSource {
					g.join(src, "3.0")
				}
				s := g.join(src, "3.0")
				if tt.side == "destination" {
					if !tt.withSource {
						g = newRig(t, inMemory, with(func(c *Config) { c.Pongs = tt.policy }))
					}
					s = g.join(dst, "3.0")
				}
				if got := s.ping("17"); got != tt.want {
					t.Errorf("answered: %v", got)
				}
			})
		})
	}
}

// ping reports whether a pong with the same payload comes back.
func (s *script) ping(payload string) bool {
	s.t.Helper()
	got := make(chan string, 8)
	s.ws.SetPongHandler(func(p string) error { got <- p; return nil })
	if err := s.ws.WriteControl(websocket.PingMessage, []byte(payload), time.Now().Add(time.Second)); err != nil {
		s.t.Fatal(err)
	}
	_ = s.ws.SetReadDeadline(time.Now().Add(5 * time.Second))
	var timeout net.Error
	if _, _, err := s.ws.NextReader(); !isTimeout(err, &timeout) {
		s.t.Fatal(err)
	}
	select {
	case p := <-got:
		return p == payload
	default:
		return false
	}
}

// keepAlive pings every 20 s from now on.
func (s *script) keepAlive() {
	var pings sync.WaitGroup
	stop := make(chan struct{})
	pings.Go(func() {
		for {
			_ = s.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Second):
			}
		}
	})
	s.t.Cleanup(func() {
		close(stop)
		pings.Wait()
	})
}
