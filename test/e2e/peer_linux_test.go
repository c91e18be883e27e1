package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// witness plays a fault to a foreign proxy and tells what it did, for scripts/faults-peer. Nothing is demanded of it.
func witness(t *testing.T, name string, o bedOptions, limit time.Duration, fire func(b *bed)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		o.program = foreignProgram(t)
		o.sandbox.Relay.Cutting = relay.Aligned // it loses messages that come in one with others
		b := startBed(t, o)
		b.traffic.fault()
		start := time.Now()
		fire(b)
		took := b.foreignBack(limit)
		lived := b.traffic.stands()
		b.traffic.healed()
		complaints := b.traffic.abandon()
		did := fmt.Sprintf("%d of %d standing connections live; %d wrong bytes; ", lived, standingConnections, complaints)
		select {
		case <-b.device.Exited:
			did += fmt.Sprintf("ended: %v", b.device.Cmd.ProcessState)
		default:
			if took > 0 {
				did += fmt.Sprintf("back %v after the fault, %v after its beginning", took, time.Since(start).Round(100*time.Millisecond))
			} else {
				did += fmt.Sprintf("runs, and is not back within %v", limit)
			}
		}
		t.Logf("WITNESS | %s | %s", name, did)
	})
}

// foreignBack is how long it took until a new connection worked; 0 if it did not within the limit, or the program has
// ended.
func (b *bed) foreignBack(limit time.Duration) time.Duration {
	start := time.Now()
	back := false
	poll(limit, func() bool {
		select {
		case <-b.device.Exited:
			return true
		default:
		}
		back = b.works()
		return back
	})
	if !back {
		return 0
	}
	return max(time.Since(start).Round(time.Millisecond), time.Millisecond)
}

// TestWhatAnotherLocalProxyDoes is run by scripts/faults-peer.
func TestWhatAnotherLocalProxyDoes(t *testing.T) {
	t.Parallel()
	foreignProgram(t)
	limit := time.Minute
	if text := os.Getenv("CULVERT_PEER_LIMIT"); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range websocketFaults() {
		witness(t, f.name, f.bed, limit, f.fire)
	}
	for _, code := range []int{1000, 1008, 1011, 1012, 0} {
		witness(t, fmt.Sprintf("close frame with code %d", code), bedOptions{}, 20*time.Second, func(b *bed) {
			b.box.Relay.Faults().CloseWith(destinationSide, code, "see you")
		})
	}
	for _, s := range silences() {
		witness(t, s.name, s.bed, 30*time.Second, func(b *bed) {
			s.begin(b)
			waits(100 * time.Second)
			b.t.Logf("WITNESS | %s | 100 s later: %d of %d standing connections live, a new one works: %v", s.name, b.traffic.stands(), standingConnections, b.works())
			s.end(b)
		})
	}
	witness(t, "a service that accepts and drops for 6 s", bedOptions{}, limit, func(b *bed) {
		mark := b.box.Relay.Connections()
		b.box.Relay.Faults().EndEarly(destinationSide, 1_000_000, relay.Ending{Bare: true})
		cut(b)
		waits(6 * time.Second)
		b.t.Logf("WITNESS | handshakes in 6 s | %d", b.box.Relay.Connections()-mark)
		b.box.Relay.Faults().Clear()
	})
	for _, keeps := range []bool{false, true} {
		witness(t, fmt.Sprintf("rotation, the service leaves the old connection: %v", keeps), bedOptions{
			sandbox: sandbox.Config{Behaviour: tunnels.Behaviour{RotationKeepsConnection: keeps}},
		}, 10*time.Second, func(b *bed) { b.rotate(tunnels.RotateDestination) })
	}
	witness(t, "rotation of the source", bedOptions{}, limit, func(b *bed) { b.rotate(tunnels.RotateSource) })
	witness(t, "killed and started again with the same tokens", bedOptions{}, limit, func(b *bed) {
		_ = b.device.Cmd.Process.Kill()
		<-b.device.Exited
		b.device = b.again()
	})
}

// localServices are targets that misbehave, and what a client does with each.
func localServices(t *testing.T) []struct {
	name, app string
	use       func(c net.Conn) (n int64, err error)
} {
	read := func(c net.Conn) (int64, error) { return io.Copy(io.Discard, c) }
	release := make(chan struct{})
	never := server(t, func(net.Conn) { <-release })
	t.Cleanup(func() { close(release) })
	return []struct {
		name, app string
		use       func(c net.Conn) (n int64, err error)
	}{
		{"down", "127.0.0.1:1", read},
		{"accepts and resets", server(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }), read},
		{"accepts and closes after a word", server(t, func(c net.Conn) { _, _ = c.Write([]byte("no")) }), read},
		{"accepts and never reads", never, func(c net.Conn) (int64, error) { return io.Copy(c, random(1)) }},
		{"never answers a SYN", mutePort(t), read},
		{"writes without end", server(t, func(c net.Conn) {
			for block := make([]byte, 1<<20); ; {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}), func(c net.Conn) (int64, error) { return io.CopyN(io.Discard, c, 256<<20) }},
	}
}

// TestWhatAnotherLocalProxyDoesWithTargets is run by scripts/faults-peer.
func TestWhatAnotherLocalProxyDoesWithTargets(t *testing.T) {
	program := foreignProgram(t)
	for _, s := range localServices(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := startBed(t, bedOptions{program: program, app: s.app, sandbox: sandbox.Config{Relay: relay.Config{Cutting: relay.Aligned}}})
			b.traffic.abandon()
			live, err := b.operator.connect(10*time.Second, "ECHO")
			if err != nil {
				t.Fatal(err)
			}
			defer live.Close()
			beside := startPulse(t, live)
			before := residentMemory(t, b.device.Cmd.Process.Pid)
			start := time.Now()
			c, err := b.operator.connect(10*time.Second, "APP")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(start.Add(40 * time.Second))
			n, err := s.use(c)
			took := time.Since(start).Round(time.Millisecond)
			waits(500 * time.Millisecond)
			longest, broke := beside.stop()
			state := "runs"
			select {
			case <-b.device.Exited:
				state = fmt.Sprint("ended: ", b.device.Cmd.ProcessState)
			default:
				state += fmt.Sprintf(", %+.1f MB", float64(residentMemory(t, b.device.Cmd.Process.Pid)-before)/1e6)
			}
			t.Logf("WITNESS | target: %s | %d bytes, then %v after %v; a live connection of another service waited %v at most (%v); %s", s.name, n, err, took, longest.Round(time.Millisecond), broke, state)
		})
	}
}
