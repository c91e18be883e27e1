package session

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
)

// slowEnd is a websocket whose connections need a while to end after it was lost.
type slowEnd struct {
	c     proxy.DestinationConfig
	mu    sync.Mutex
	stats proxy.Stats
}

func (s *slowEnd) Run(ctx context.Context) error {
	s.c.OnOpen("channel-slow", "aws.iot.securetunneling-3.0")
	select {
	case <-time.After(time.Hour):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.c.OnLost(errNetwork)
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Services = []proxy.ServiceStats{{Service: "SSH", Total: 1, BytesIn: 7}}
	return errNetwork
}

func (s *slowEnd) Stats() proxy.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// A local program that does not end delays nothing: the next handshake comes when the websocket is gone, and
// what the old connections still did is counted.
func TestALostWebsocketIsDialledAgainWhileItsConnectionsEnd(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		first := true
		m := w.manager(func(c *Config) {
			c.Random = func() float64 { return 0 }
			next := c.NewTunnel
			c.NewTunnel = func(d proxy.DestinationConfig) Tunnel {
				if first {
					first = false
					return &slowEnd{c: d}
				}
				return next(d)
			}
		})
		began := time.Now()
		accept(t, m, "a", Accepted)
		pass(time.Hour + 300*time.Millisecond)
		dials := w.attempts("TOKEN-a")
		if len(dials) != 1 || dials[0].at.Sub(began) != time.Hour+250*time.Millisecond {
			t.Fatalf("dialled again %+v, want once, a quarter of a second after the loss", dials)
		}
		if st := find(t, m, "a"); st.State != Connected || st.ChannelID != "channel-1" {
			t.Errorf("%+v, want it connected by the second websocket", st)
		}
		if lines := w.logs.lines("tunnel closed"); len(lines) != 0 {
			t.Errorf("closed before its connections were: %v", lines)
		}
		pass(time.Second)
		st := find(t, m, "a")
		if len(st.Services) != 1 || st.Services[0].BytesIn != 7 || st.State != Connected {
			t.Errorf("%+v, want the bytes of the old connections", st)
		}
		lines := w.logs.lines("tunnel closed")
		if len(lines) != 1 || field(lines[0], "channel_id") != "channel-slow" || field(lines[0], "bytes_in") != "7" {
			t.Errorf("%v", lines)
		}
	})
}

// A daemon that stops waits for the connections of a websocket that was lost before.
func TestTheEndWaitsForConnectionsOfALostWebsocket(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		m := w.manager(func(c *Config) {
			c.NewTunnel = func(d proxy.DestinationConfig) Tunnel { return &slowEnd{c: d} }
		})
		accept(t, m, "a", Accepted)
		pass(time.Hour + 100*time.Millisecond)
		began := time.Now()
		w.close(m)
		if d := time.Since(began); d != 900*time.Millisecond {
			t.Errorf("closed after %v, want 900ms", d)
		}
	})
}
