package stream

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// deed is one step of a fuzzed conversation, taken from four bytes.
type deed struct {
	what    byte
	message frame.Message
	arg     byte
}

var (
	fuzzServices = []string{"ECHO", "SINK", "DEAF", "SLOW", "NONE", "", "HALF", "HALF"}
	fuzzStreams  = []int32{1, 1, 1, 2, -7, 0}
	fuzzConns    = []uint32{1, 1, 2, 3, 0}
	fuzzSizes    = []int{0, 1, 100, 600, 20_000, frame.MaxPayload}
	fuzzWaits    = []time.Duration{0, time.Millisecond, time.Second, stall, drainTimeout}
	fuzzTypes    = []frame.Type{
		frame.Data, frame.Data, frame.Data, frame.StreamStart, frame.StreamStart, frame.ConnectionStart, frame.ConnectionStart,
		frame.StreamReset, frame.ConnectionReset, frame.ConnectionReset, frame.ServiceIDs, 99,
	}
)

func pick[T any](from []T, b byte) T { return from[int(b)%len(from)] }

func deeds(script []byte) (all []deed) {
	for ; len(script) >= 4 && len(all) < 200; script = script[4:] {
		b := script[:4]
		d := deed{what: b[0] % 16, arg: b[3], message: frame.Message{
			Type: pick(fuzzTypes, b[1]), ServiceID: pick(fuzzServices, b[2]), Ignorable: b[1] >= 0x80,
			StreamID: pick(fuzzStreams, b[3]), ConnectionID: pick(fuzzConns, b[3]/8),
		}}
		if d.message.Type == frame.Data {
			d.message.Payload = []byte(strings.Repeat("p", pick(fuzzSizes, b[2]/8)))
		}
		all = append(all, d)
	}
	return all
}

// spare makes of a deed one that has nothing to do with the connection beside: of another service, and in the same
// form. Without it hardly any conversation of some length would leave that alone.
func (d *deed) spare() {
	m := &d.message
	if m.ServiceID == "ECHO" || endsOthers(m) && m.ServiceID == "" {
		m.ServiceID = "SINK"
	}
	if endsOthers(m) {
		m.ConnectionID = 1
	}
	if d.what == sessionReset {
		d.what = 10
	}
}

// sessionReset is the deed that ends all streams.
const sessionReset = 11

// endsOthers reports whether a start may be of another form than V3, which ends all V3 streams.
func endsOthers(m *frame.Message) bool {
	return (m.Type == frame.StreamStart || m.Type == frame.ConnectionStart) && (m.ServiceID == "" || m.ConnectionID == 0)
}

// fuzzScripts adds scripts of random steps: a mutator alone is slow to come upon conversations.
func fuzzScripts(f *testing.F, n int, add func(script []byte)) {
	f.Helper()
	r := rand.New(rand.NewPCG(8, 8))
	for range n {
		script := make([]byte, 4*200)
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		add(script)
	}
}

// FuzzDestination: whatever a peer sends and the targets do, with half close or without, nothing panics or hangs, the
// rules of the judge hold, memory stays within its limits, a connection that has no part in it lives on, and
// after the end nothing is left.
func FuzzDestination(f *testing.F) {
	fuzzScripts(f, 30, func(script []byte) {
		f.Add(false, script)
		f.Add(true, script)
	})
	f.Fuzz(func(t *testing.T, half bool, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			s := playWith(t, "ECHO", Config{Resume: registryIf(half)})
			s.far.out.limit = 1 << 30
			const control = "DATA 4711 ECHO#4711 still here"
			s.send("STREAM_START 4711 CONTROL#1", "CONNECTION_START 4711 ECHO#4711")
			s.send("STREAM_RESET 4711 CONTROL")
			_ = s.received()
			untouched := true
			for _, d := range deeds(script) {
				if script[0]%2 == 0 {
					d.spare()
				}
				s.do(d)
				s.queued()
				untouched = untouched && !endsOthers(&d.message) && d.message.ServiceID != "ECHO" && d.what != sessionReset
			}
			s.far.in.stop(false)
			time.Sleep(2 * stall) // whatever stalls has ended
			_ = s.received()
			select {
			case err := <-s.served:
				if _, ok := errors.AsType[*ProtocolError](err); !ok {
					t.Errorf("Serve ended: %v", err)
				}
				s.served <- err
			default:
				if untouched {
					s.send(control)
					s.expect("a connection with no part in it", control)
				}
				s.alive(V3)
			}
			_ = s.end()
		})
	})
}

// do plays one deed.
func (s *script) do(d deed) {
	s.t.Helper()
	switch d.what {
	default:
		if d.message.Type == 99 && d.arg%64 != 0 {
			d.message.Ignorable = true // few shall end it all
		}
		b, err := d.message.AppendFrame(nil)
		if err != nil {
			s.t.Fatal(err)
		}
		_, _ = s.far.Write(b)
	case 8, 9:
		_ = s.received()
	case 10:
		time.Sleep(pick(fuzzWaits, d.arg))
	case sessionReset:
		_, _ = s.far.Write(frames("SESSION_RESET"))
	case 12:
		s.far.in.stop(d.arg%2 == 0)
	case 13, 14, 15:
		s.mu.Lock()
		targets := append(append([]*target(nil), s.targets["DEAF"]...), s.targets["SLOW"]...)
		s.mu.Unlock()
		if len(targets) == 0 {
			if d.arg%8 == 0 && d.what == 13 {
				s.connectSlow()
			}
			return
		}
		to := targets[int(d.arg)%len(targets)]
		_ = to.SetDeadline(time.Now().Add(time.Millisecond))
		switch d.what {
		case 13:
			_ = to.Close()
		case 14:
			_, _ = fmt.Fprintf(to, "%d bytes of nothing", d.arg)
		case 15:
			_, _ = io.ReadFull(to, make([]byte, 1+int(d.arg)*300))
		}
	}
}

func (s *script) connectSlow() {
	select {
	case <-s.connect:
	default:
		close(s.connect)
	}
}
