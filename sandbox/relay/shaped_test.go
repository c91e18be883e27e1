package relay

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// pongs notes when each pong came that is read from now on. Reading needs an expect or an end.
func (s *script) pongs() *[]string {
	var got []string
	began := time.Now()
	s.ws.SetPongHandler(func(p string) error {
		got = append(got, p+" after "+time.Since(began).String())
		return nil
	})
	return &got
}

func (s *script) sendPing(payload string) {
	s.t.Helper()
	if err := s.ws.WriteControl(websocket.PingMessage, []byte(payload), time.Now().Add(time.Second)); err != nil {
		s.t.Fatal(err)
	}
}

func TestAPongIsAsLateAsThePathIsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory, with(func(c *Config) { c.Cutting = Straight }))
		d, s := g.streaming()
		g.relay.Faults().Set(Target{Side: dst}, Conditions{Delay: 100 * time.Millisecond})
		got := d.pongs()
		for _, p := range []string{"1", "2"} {
			d.sendPing(p)
			time.Sleep(10 * time.Millisecond)
		}
		s.send(data("SSH", 1, 1, "behind them"))
		d.expect(data("SSH", 1, 1, "behind them"))
		if want := "1 after 200ms 2 after 210ms"; strings.Join(*got, " ") != want {
			t.Errorf("pongs: %v, want %s", *got, want)
		}
	})
}

func TestAPongOvertakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory)
		d, s := g.streaming()
		g.relay.Faults().Set(Target{Side: dst}, Conditions{RateLimit: 100_000})
		got := d.pongs()
		d.send(data("SSH", 1, 1, strings.Repeat("x", 60_000))) // takes 550 ms: 50 ms are free
		d.sendPing("up")                                       // behind it
		s.send(data("SSH", 1, 1, strings.Repeat("y", 60_000))) // not read before that, and takes as long
		s.expect(data("SSH", 1, 1, strings.Repeat("x", 60_000)))
		d.expect(data("SSH", 1, 1, strings.Repeat("y", 60_000)))
		s.send(data("SSH", 1, 1, "end"))
		d.expect(data("SSH", 1, 1, "end"))
		if len(*got) != 1 {
			t.Fatalf("pongs: %v", *got)
		}
		after, err := time.ParseDuration(strings.TrimPrefix((*got)[0], "up after "))
		if err != nil || after < 1050*time.Millisecond || after > 1200*time.Millisecond {
			t.Errorf("pong %s, %v", (*got)[0], err)
		}
	})
}
