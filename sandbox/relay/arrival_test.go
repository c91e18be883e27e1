package relay

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// slowArrival delays a destination between the answer to its handshake and its place in the tunnel.
type slowArrival struct{ slog.Handler }

func (slowArrival) Enabled(context.Context, slog.Level) bool { return true }
func (s slowArrival) WithAttrs([]slog.Attr) slog.Handler     { return s }
func (slowArrival) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "destination connected" {
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

// Once a destination has the answer to its handshake, it receives what the source sends.
func TestAStreamThatBeginsWithTheAnswerReachesTheDestination(t *testing.T) {
	g := newRig(t, with(func(c *Config) { c.Logger = slog.New(slowArrival{slog.DiscardHandler}) }))
	s := g.join(src, "3.0")
	d := g.connect(dst, "3.0")
	s.send(start("SSH", 1, 1))
	d.expect(frame.Message{Type: frame.ServiceIDs, AvailableServiceIDs: []string{"SSH"}}, start("SSH", 1, 1))
}

// Once a destination has the answer to its handshake, a fault meets it.
func TestAFaultMeetsADestinationThatHasTheAnswer(t *testing.T) {
	g := newRig(t, with(func(c *Config) { c.Logger = slog.New(slowArrival{slog.DiscardHandler}) }))
	for name, fault := range map[string]func(Target) int{"cut": g.relay.Faults().Cut, "strand": g.relay.Faults().Strand} {
		g.connect(dst, "3.0")
		if n := fault(Target{Side: tunnels.Destination}); n != 1 {
			t.Errorf("%s: the fault met %d connections", name, n)
		}
	}
}
