package relay

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// Frames that are still under way on the other side's slow link have not reached the relay. The answer to a ping does
// not wait for them, unless the ping left behind them.
func TestADelayedLinkDoesNotDelayTheOtherSidesPongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, inMemory, with(func(c *Config) { c.Cutting = Straight }))
		d, s := g.streaming()
		g.relay.Faults().Set(Target{Side: dst}, Conditions{Delay: 100 * time.Millisecond})
		began := time.Now()
		var pong time.Duration
		s.ws.SetPongHandler(func(string) error { pong = time.Since(began); return nil })
		d.send(data("SSH", 1, 1, "late"))
		time.Sleep(10 * time.Millisecond)
		if err := s.ws.WriteControl(websocket.PingMessage, nil, time.Time{}); err != nil {
			t.Fatal(err)
		}
		s.expect(data("SSH", 1, 1, "late"))
		if pong != 10*time.Millisecond || time.Since(began) != 100*time.Millisecond {
			t.Errorf("the pong came after %v, the data after %v", pong, time.Since(began))
		}

		// The destination's own pings are as late as its link, and their answers stay behind the frames that the relay
		// had sent before.
		began = time.Now()
		d.ws.SetPongHandler(func(string) error { pong = time.Since(began); return nil })
		s.send(data("SSH", 1, 1, "first"))
		if err := d.ws.WriteControl(websocket.PingMessage, nil, time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		s.send(data("SSH", 1, 1, "second"), data("SSH", 1, 1, "third"))
		d.expect(data("SSH", 1, 1, "first"), data("SSH", 1, 1, "second"))
		time.Sleep(time.Second)
		s.send(data("SSH", 1, 1, "fourth"))
		d.expect(data("SSH", 1, 1, "third"), data("SSH", 1, 1, "fourth"))
		if pong != 200*time.Millisecond {
			t.Errorf("the pong came after %v", pong)
		}
	})
}
