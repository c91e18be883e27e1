package e2e

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// TestViolationsByTheRelayAreSurvived sends the daemon what no relay may send. Either the stream concerned ends
// and a connection on another service never notices, or the websocket ends and the session comes back with the same
// pair. The daemon says why, where somebody could act on it.
func TestViolationsByTheRelayAreSurvived(t *testing.T) {
	echo := echoServer(t)
	cfg := sandbox.Config{Services: map[string]string{"ECHO": echo, "OTHER": echo}}
	d := startDevice(t, cfg)
	side := relay.Target{Side: tunnels.Destination}
	message := func(m frame.Message) func(*relay.Faults) int {
		return func(f *relay.Faults) int { return f.SendMessage(side, m) }
	}
	raw := func(b ...byte) func(*relay.Faults) int {
		return func(f *relay.Faults) int { return f.SendRaw(side, false, b) }
	}
	encoded := func(m frame.Message) []byte {
		b, err := m.AppendFrame(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	overlong := binary.BigEndian.AppendUint16(nil, 0xFFFF)
	overlong = append(overlong, bytes.Repeat([]byte{0xff}, 0xFFFF)...)
	start := frame.Message{Type: frame.StreamStart, StreamID: 900, ServiceID: "OTHER", ConnectionID: 1}

	for _, test := range []struct {
		name   string
		inject func(*relay.Faults) int
		fatal  bool   // for the websocket
		log    string // what the daemon says
	}{
		{"a length that cuts the next message", raw(0, 1, 8), true, "malformed tunnel message"},
		{"the largest length, and no message in it", raw(overlong...), true, "malformed tunnel message"},
		{"an unknown type that must be understood", message(frame.Message{Type: 42}), true, "message of unknown type TYPE_42"},
		{"type 0", raw(0, 0), true, "message of unknown type UNKNOWN"},
		{"a text message", func(f *relay.Faults) int { return f.SendRaw(side, true, []byte("hello")) }, true, "text"},
		{"a message over 131,076 bytes", raw(bytes.Repeat(encoded(frame.Message{Type: 42, Ignorable: true}), 30_000)...), true, "131"},
		{"an unknown type that may be ignored", message(frame.Message{Type: 42, Ignorable: true}), false, ""},
		{"a start for a service that is not configured", message(frame.Message{Type: frame.StreamStart, StreamID: 7, ServiceID: "NOPE", ConnectionID: 1}), false, "NOPE"},
		{"data for a dead stream", message(frame.Message{Type: frame.Data, StreamID: 12345, ServiceID: "OTHER", ConnectionID: 1, Payload: []byte("x")}), false, ""},
		{"a connection started twice", func(f *relay.Faults) int {
			twice := start
			twice.Type = frame.ConnectionStart
			return f.SendMessage(side, start) * f.SendMessage(side, twice)
		}, false, "started twice"},
		{"a connection started in a V2 stream", func(f *relay.Faults) int {
			v2, next := start, start
			v2.ConnectionID = 0
			next.Type, next.ConnectionID = frame.ConnectionStart, 2
			return f.SendMessage(side, v2) * f.SendMessage(side, next)
		}, false, "unexpected message"},
		{"empty data", message(frame.Message{Type: frame.Data, StreamID: 900, ServiceID: "OTHER", ConnectionID: 1}), false, ""},
		{"no stream id", message(frame.Message{Type: frame.Data, ServiceID: "OTHER"}), false, "without a stream id"},
		{"a reset of a stream that is not there", message(frame.Message{Type: frame.StreamReset, StreamID: 4, ServiceID: "NOPE"}), false, ""},
		{"services that are none", message(frame.Message{Type: frame.ServiceIDs, AvailableServiceIDs: []string{"", "…", strings.Repeat("x", 2000)}}), false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := d
			if test.fatal {
				// Of its own: the delay before the next attempt grows with each websocket that does not last.
				d = startDevice(t, cfg)
			}
			mark, live := d.daemon.mark(), connectTo(t, d.source, "ECHO")
			if err := exchangeByte(live); err != nil {
				t.Fatalf("before it: %v", err)
			}
			// The relay may see the end of the websocket while it still writes.
			if n := test.inject(d.box.Relay.Faults()); n != 1 && !test.fatal {
				t.Fatalf("%d connections met, want 1", n)
			}
			if test.log != "" {
				d.daemon.waitLogFrom(t, mark, test.log, 5*time.Second)
			}
			if test.fatal {
				d.daemon.waitLogFrom(t, mark, "tunnel connected", 5*time.Second)
				d.comesBack(t, 5*time.Second)
				return
			}
			if test.log == "unexpected message" {
				// A stream in another form is a new source's: it ends those of the source before.
				return
			}
			if err := exchangeByte(live); err != nil {
				t.Errorf("a connection of another service after it: %v", err)
			}
		})
	}
	t.Run("a session reset ends all streams and nothing else", func(t *testing.T) {
		mark, live := d.daemon.mark(), connectTo(t, d.source, "ECHO")
		if err := exchangeByte(live); err != nil {
			t.Fatal(err)
		}
		d.box.Relay.Faults().SendMessage(side, frame.Message{Type: frame.SessionReset})
		d.daemon.waitLogFrom(t, mark, "session reset", 5*time.Second)
		_ = live.Close()
		// The source knows nothing of it, and its next connection is of a stream that has ended here: it counts as
		// a start.
		d.comesBack(t, 5*time.Second)
		if strings.Contains(d.daemon.log()[mark:], "tunnel lost") {
			t.Error("the websocket was given up")
		}
	})
}
