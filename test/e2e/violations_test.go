package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// answersOf collects what the device sends to one source about all services but ECHO, as the relay sees it. Data of a
// connection that comes in pieces is put together.
type answersOf struct {
	mu   sync.Mutex
	list []string
}

func (a *answersOf) observe(e relay.Event) {
	m := e.Message
	if e.From != tunnels.Destination || m.ServiceID == "ECHO" {
		return
	}
	text := fmt.Sprintf("%v %d %s#%d %s", m.Type, m.StreamID, m.ServiceID, m.ConnectionID, m.Payload)
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.list); n > 0 && m.Type == frame.Data && len(m.Payload) > 0 && strings.HasPrefix(a.list[n-1], text[:len(text)-len(m.Payload)]) {
		a.list[n-1] += string(m.Payload)
		return
	}
	a.list = append(a.list, text)
}

// take returns the answers since the last call.
func (a *answersOf) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.list
	a.list = nil
	return strings.Join(list, ", ")
}

// TestViolationsByTheRelayAreSurvived sends the daemon what no relay may send. Either the stream concerned ends, with an
// answer in its form, and a connection on another service never notices, or the websocket ends and the session comes back
// with the same pair. The daemon logs why, if the reader can act on it.
func TestViolationsByTheRelayAreSurvived(t *testing.T) {
	t.Parallel()
	echo, said := echoServer(t), &answersOf{}
	cfg := sandbox.Config{Services: map[string]string{"ECHO": echo, "OTHER": echo}, Relay: relay.Config{Observe: said.observe}}
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
		answer string // what it sends to the source
	}{
		{"a length that cuts the next message", raw(0, 1, 8), true, "malformed tunnel message", ""},
		{"the largest length, and no message in it", raw(overlong...), true, "malformed tunnel message", ""},
		{"an unknown type that must be understood", message(frame.Message{Type: 42}), true, "message of unknown type TYPE_42", ""},
		{"type 0", raw(0, 0), true, "message of unknown type UNKNOWN", ""},
		{"a text message", func(f *relay.Faults) int { return f.SendRaw(side, true, []byte("hello")) }, true, "text", ""},
		{"a message over 131,076 bytes", raw(bytes.Repeat(encoded(frame.Message{Type: 42, Ignorable: true}), 30_000)...), true, "131", ""},
		{"an unknown type that may be ignored", message(frame.Message{Type: 42, Ignorable: true}), false, "", ""},
		{"a start for a service that is not configured", message(frame.Message{Type: frame.StreamStart, StreamID: 7, ServiceID: "NOPE", ConnectionID: 1}), false, "NOPE", "CONNECTION_RESET 7 NOPE#1 "},
		{"data for a dead stream", message(frame.Message{Type: frame.Data, StreamID: 12345, ServiceID: "OTHER", ConnectionID: 1, Payload: []byte("x")}), false, "", ""},
		{"a connection started twice", func(f *relay.Faults) int {
			twice := start
			twice.Type = frame.ConnectionStart
			return f.SendMessage(side, start) * f.SendMessage(side, twice)
		}, false, "started twice", "CONNECTION_RESET 900 OTHER#1 "},
		{"a connection started in a V2 stream", func(f *relay.Faults) int {
			v2, next := start, start
			v2.ConnectionID = 0
			next.Type, next.ConnectionID = frame.ConnectionStart, 2
			return f.SendMessage(side, v2) * f.SendMessage(side, next)
		}, false, "unexpected message", "STREAM_RESET 900 OTHER#0 "},
		{"empty data for a dead stream", message(frame.Message{Type: frame.Data, StreamID: 900, ServiceID: "OTHER", ConnectionID: 1}), false, "", ""},
		{"empty data between others", func(f *relay.Faults) int {
			begin, data := start, start
			begin.StreamID, data.StreamID, data.Type = 901, 901, frame.Data
			met := f.SendMessage(side, begin)
			for _, payload := range []string{"some ", "", "", "more"} {
				data.Payload = []byte(payload)
				met *= f.SendMessage(side, data)
			}
			return met
		}, false, "", "DATA 901 OTHER#1 some more"},
		{"a connection started in another stream than the active one", func(f *relay.Faults) int {
			next := start
			next.Type, next.StreamID, next.ConnectionID = frame.ConnectionStart, 902, 2
			return f.SendMessage(side, next)
		}, false, "", "CONNECTION_RESET 902 OTHER#2 "},
		{"a stream started twice, with the same id", func(f *relay.Faults) int {
			begin, data := start, start
			begin.StreamID, data.StreamID, data.Type, data.Payload = 901, 901, frame.Data, []byte("new")
			return f.SendMessage(side, begin) * f.SendMessage(side, data)
		}, false, "", "DATA 901 OTHER#1 new"},
		{"no stream id", message(frame.Message{Type: frame.Data, ServiceID: "OTHER"}), false, "without a stream id", ""},
		{"a reset of a stream that is not there", message(frame.Message{Type: frame.StreamReset, StreamID: 4, ServiceID: "NOPE"}), false, "", ""},
		{"services that are none", message(frame.Message{Type: frame.ServiceIDs, AvailableServiceIDs: []string{"", "…", strings.Repeat("x", 2000)}}), false, "", ""},
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
			_ = said.take()
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
			got := ""
			if !poll(5*time.Second, func() bool { got += said.take(); return len(got) >= len(test.answer) }) || got != test.answer {
				t.Errorf("the source is told %q, want %q", got, test.answer)
			}
			if test.log == "unexpected message" {
				// A stream in another form is a new source's: it ends those of the source before.
				return
			}
			if err := exchangeByte(live); err != nil {
				t.Errorf("a connection of another service after it: %v", err)
			}
			// An answer would have come before that byte.
			if got := said.take(); got != "" {
				t.Errorf("the source is moreover told %q", got)
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
