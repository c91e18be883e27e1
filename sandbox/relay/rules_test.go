package relay

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// framed puts a length before bytes that no encoder would write.
func framed(body ...byte) []byte {
	return append([]byte{byte(len(body) >> 8), byte(len(body))}, body...)
}

func TestViolationsEndTheConnection(t *testing.T) {
	m := func(ms ...frame.Message) func(*testing.T, *script) {
		return func(t *testing.T, s *script) {
			t.Helper()
			s.send(ms...)
		}
	}
	raw := func(b []byte) func(*testing.T, *script) {
		return func(t *testing.T, s *script) {
			t.Helper()
			s.sendRaw(websocket.BinaryMessage, b)
		}
	}
	v1 := []frame.Message{start("", 7, 0)}
	v2 := []frame.Message{start("SSH", 7, 0)}
	v3 := []frame.Message{start("SSH", 7, 1)}
	tests := []struct {
		name    string
		side    tunnels.Mode
		proto   string // of the source; "" means 3.0
		before  []frame.Message
		violate func(*testing.T, *script)
		rule    Rule
		code    int
	}{
		{"destination sends STREAM_START", dst, "", nil, m(start("SSH", 1, 1)), RuleSender, 1008},
		{"destination sends CONNECTION_START", dst, "", v3, m(frame.Message{Type: frame.ConnectionStart, StreamID: 7, ServiceID: "SSH", ConnectionID: 2}), RuleSender, 1008},
		{"destination sends SERVICE_IDS", dst, "", nil, m(frame.Message{Type: frame.ServiceIDs}), RuleSender, 1008},
		{"source sends SERVICE_IDS", src, "", nil, m(frame.Message{Type: frame.ServiceIDs, AvailableServiceIDs: []string{"SSH"}}), RuleSender, 1008},
		{"destination sends SESSION_RESET", dst, "", v3, m(frame.Message{Type: frame.SessionReset}), RuleSender, 1008},
		{"source sends SESSION_RESET", src, "", v3, m(frame.Message{Type: frame.SessionReset}), RuleSender, 1008},
		{"text message", dst, "", nil, func(t *testing.T, s *script) { t.Helper(); s.sendRaw(websocket.TextMessage, []byte("hello")) }, RuleText, 1003},
		{"websocket message of 131,077 bytes", src, "", nil, raw(longMessage(t)), RuleTooLong, 1009},
		{"unknown type", src, "", nil, m(frame.Message{Type: 8, StreamID: 1}), RuleUnknownType, 1008},
		{"type 0", dst, "", nil, m(frame.Message{StreamID: 1}), RuleUnknownType, 1008},
		{"type 0, ignorable", dst, "", nil, m(frame.Message{StreamID: 1, Ignorable: true}), RuleUnknownType, 1008},
		{"empty frame", src, "", nil, raw([]byte{0, 0}), RuleUnknownType, 1008},
		{"unknown field", src, "", nil, raw(framed(0x08, 1, 0x10, 7, 0x40, 1)), RuleUnknownField, 1008},
		{"known field of another wire type", src, "", nil, raw(framed(0x08, 1, 0x12, 1, 0)), RuleUnknownField, 1008},
		{"cut varint", src, "", nil, raw(framed(0x08, 0x80)), RuleMalformed, 1008},
		{"field longer than its message", src, "", nil, raw(framed(0x08, 1, 0x22, 9, 'x')), RuleMalformed, 1008},
		{"stream id 0 in DATA", src, "", v3, m(data("SSH", 0, 1, "x")), RuleStreamID, 1008},
		{"stream id 0 in STREAM_START", src, "", nil, m(start("SSH", 0, 1)), RuleStreamID, 1008},
		{"stream id 0 in STREAM_RESET", dst, "", v3, m(reset("SSH", 0)), RuleStreamID, 1008},
		{"payload of 64,513 bytes", src, "", v1, raw(longData(t)), RulePayload, 1008},
		{"DATA before any stream", src, "", nil, m(data("SSH", 1, 1, "x")), RuleNeverStarted, 1008},
		{"DATA of a destination before any stream", dst, "", nil, m(data("SSH", 1, 1, "x")), RuleNeverStarted, 1008},
		{"DATA for a service without a stream", dst, "", v3, m(data("HTTP", 7, 1, "x")), RuleNeverStarted, 1008},
		{"DATA for a service the tunnel lacks", src, "", v3, m(data("FTP", 7, 1, "x")), RuleNoService, 1008},
		{"STREAM_START for a service the tunnel lacks", src, "", nil, m(start("FTP", 7, 1)), RuleNoService, 1008},
		{"service name in another case", src, "", nil, m(start("ssh", 7, 1)), RuleNoService, 1008},
		{"source names a service in a stream started without", src, "", v1, m(data("SSH", 7, 0, "x")), RuleMixedForms, 1008},
		{"destination names a service in a stream started without", dst, "", v1, m(data("SSH", 7, 0, "x")), RuleMixedForms, 1008},
		{"destination names a service in the reset of a stream started without", dst, "", v1, m(reset("SSH", 7)), RuleMixedForms, 1008},
		{"source alternates from V1 to V2", src, "", v1, m(start("SSH", 8, 0)), RuleAlternates, 1008},
		{"source alternates from V2 to V1", src, "", v2, m(start("", 8, 0)), RuleAlternates, 1008},
		{"source names a service in V1", src, "1.0", nil, m(start("SSH", 7, 0)), RuleVersion, 1008},
		{"source names a connection in V2", src, "2.0", nil, m(start("SSH", 7, 1)), RuleVersion, 1008},
		{"source sends CONNECTION_START in V2", src, "2.0", v2, m(frame.Message{Type: frame.ConnectionStart, StreamID: 7, ServiceID: "SSH"}), RuleVersion, 1008},
		{"reserved bits of the websocket", src, "", nil, func(t *testing.T, s *script) {
			t.Helper()
			if _, err := s.ws.NetConn().Write([]byte{0xf2, 0x80, 0, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
		}, RuleWebsocket, 1002},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.proto == "" {
				tt.proto = "3.0"
			}
			g := newRig(t, withServices("SSH", "HTTP"))
			sides := map[tunnels.Mode]*script{dst: g.join(dst, "3.0"), src: g.join(src, tt.proto)}
			sides[src].send(tt.before...)
			sides[dst].expect(tt.before...)
			tt.violate(t, sides[tt.side])
			sides[tt.side].ended(tt.code)
			for _, b := range tt.before { // the other side only loses its streams
				sides[other(tt.side)].expect(reset(b.ServiceID, b.StreamID))
			}
			for _, s := range sides {
				_ = s.ws.Close()
			}
			g.relay.Close()
			v := g.relay.Violations()
			if len(v) != 1 {
				t.Fatalf("violations %+v", v)
			}
			v[0].Detail = ""
			if d := cmp.Diff(Violation{Tunnel: g.id, Side: tt.side, Rule: tt.rule, Ended: true}, v[0]); d != "" {
				t.Errorf("violation (-want +got)\n%s", d)
			}
		})
	}
}

// longData is DATA with one byte more than allowed, which the codec refuses to make.
func longData(t *testing.T) []byte {
	t.Helper()
	m := frame.Message{Type: frame.Data, StreamID: 7, Payload: bytes.Repeat([]byte("x"), frame.MaxPayload+1)}
	body := m.Append(nil)
	if len(body) > frame.MaxMessage {
		t.Fatal("does not fit a frame")
	}
	return append([]byte{byte(len(body) >> 8), byte(len(body))}, body...)
}

// longMessage is one byte too long for a websocket message; the frames in it are all right.
func longMessage(t *testing.T) []byte {
	t.Helper()
	skip := enc(t, frame.Message{Type: 99, Ignorable: true, Payload: make([]byte, 60_000)})
	b := append(skip, skip...)
	return append(b, enc(t, frame.Message{Type: 99, Ignorable: true, Payload: make([]byte, frame.MaxWebsocketMessage+1-len(b)-2-7)})...)
}

func TestAllowedMessagesAreForwardedUnaltered(t *testing.T) {
	began := enc(t, start("SSH", 7, 1))
	tests := []struct {
		name string
		side tunnels.Mode
		raw  []byte
	}{
		{"unknown type that is ignorable", src, enc(t, frame.Message{Type: 99, StreamID: 1, Ignorable: true, Payload: []byte("x")})},
		{"the same from a destination, without a stream id", dst, enc(t, frame.Message{Type: 99, Ignorable: true})},
		{"negative stream id", src, enc(t, start("SSH", -5, 1), data("SSH", -5, 1, "x"))},
		{"DATA without payload", src, enc(t, data("SSH", 7, 1, ""))},
		{"the largest payload", dst, enc(t, data("SSH", 7, 1, strings.Repeat("x", frame.MaxPayload)))},
		{"fields that are written although zero, out of order", src, framed(0x38, 1, 0x2a, 3, 'S', 'S', 'H', 0x18, 0, 0x10, 7, 0x08, 1)},
		{"DATA of a stream that is over", dst, enc(t, data("SSH", 6, 1, "x"))},
		{"connection id 0", dst, enc(t, data("SSH", 7, 0, "x"))},
		{"CONNECTION_START", src, enc(t, frame.Message{Type: frame.ConnectionStart, StreamID: 7, ServiceID: "SSH", ConnectionID: 2})},
		{"CONNECTION_START of another stream", src, enc(t, frame.Message{Type: frame.ConnectionStart, StreamID: 8, ServiceID: "SSH", ConnectionID: 2})},
		{"CONNECTION_RESET from a destination", dst, enc(t, frame.Message{Type: frame.ConnectionReset, StreamID: 7, ServiceID: "SSH", ConnectionID: 1})},
		{"STREAM_RESET of no stream", src, enc(t, reset("HTTP", 3))},
		{"STREAM_START on an active stream", src, enc(t, start("SSH", 7, 1), start("SSH", 9, 1))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, withServices("SSH", "HTTP"))
			sides := map[tunnels.Mode]*script{dst: g.join(dst, "3.0"), src: g.join(src, "3.0")}
			sides[src].sendRaw(websocket.BinaryMessage, began)
			sides[dst].expect(start("SSH", 7, 1))
			s, o := sides[tt.side], sides[other(tt.side)]
			o.raw.Reset()
			s.sendRaw(websocket.BinaryMessage, tt.raw)
			end := reset("SSH", 1000)
			s.send(end)
			for m := (frame.Message{}); m.StreamID != 1000; {
				if err := o.frames.Next(&m); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(append(tt.raw, enc(t, end)...), o.raw.Bytes()); d != "" {
				t.Errorf("bytes (-sent +received)\n%s", d)
			}
			if v := g.relay.Violations(); len(v) != 0 {
				t.Errorf("violations %+v", v)
			}
		})
	}
}

func TestAnswersInAnotherFormAreNoted(t *testing.T) {
	v2, v3 := start("SSH", 1, 0), start("SSH", 1, 1)
	connectionReset := frame.Message{Type: frame.ConnectionReset, StreamID: 1, ServiceID: "SSH"}
	for _, tt := range []struct {
		name      string
		start     frame.Message
		answer    frame.Message
		forwarded bool
		rule      Rule // "" when it is all right
	}{
		{"a connection id in DATA for a V2 source", v2, data("SSH", 1, 1, "x"), true, RuleNotMirrored},
		{"CONNECTION_RESET for a V2 source", v2, connectionReset, true, RuleNotMirrored},
		{"CONNECTION_RESET for a V3 source", v3, connectionReset, true, ""},
		{"STREAM_RESET without a service id for a V2 source", v2, reset("", 1), false, RuleNoServiceID},
		{"STREAM_RESET without a service id for a V3 source", v3, reset("", 1), false, RuleNoServiceID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t)
			subprotocol := "3.0"
			if tt.start.ConnectionID == 0 {
				subprotocol = "2.0"
			}
			d, s := g.join(dst, "3.0"), g.join(src, subprotocol)
			s.send(tt.start)
			d.expect(tt.start)
			d.send(tt.answer, data("SSH", 1, 0, "next"))
			if tt.forwarded {
				s.expect(tt.answer)
			}
			s.expect(data("SSH", 1, 0, "next"))
			var want []Violation
			if tt.rule != "" {
				want = []Violation{{Tunnel: g.id, Side: dst, Rule: tt.rule}}
			}
			if diff := cmp.Diff(want, g.relay.Violations(), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Violation{}, "Detail")); diff != "" {
				t.Errorf("violations (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAnEndWithinAFrameIsNoted(t *testing.T) {
	g := newRig(t)
	d := g.join(dst, "3.0")
	d.sendRaw(websocket.BinaryMessage, []byte{0, 9, 8})
	if err := d.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "")); err != nil {
		t.Fatal(err)
	}
	d.ended(1000)
	if v := g.relay.Violations(); len(v) != 1 || v[0].Rule != RuleTruncated {
		t.Errorf("violations %+v", v)
	}
}

func TestResetsWhenAPeerIsReplacedOrLost(t *testing.T) {
	v1, v2, v3 := start("", 4, 0), start("SSH", 5, 0), start("SSH", 6, 1)
	for _, tt := range []struct {
		name  string
		start frame.Message
		want  frame.Message
	}{{"V1", v1, reset("", 4)}, {"V2", v2, reset("SSH", 5)}, {"V3", v3, reset("SSH", 6)}} {
		for _, side := range []tunnels.Mode{src, dst} {
			for _, how := range []string{"replaced", "lost", "closed"} {
				t.Run(tt.name+" "+string(side)+" "+how, func(t *testing.T) {
					g := newRig(t)
					sides := map[tunnels.Mode]*script{dst: g.join(dst, "3.0"), src: g.join(src, "3.0")}
					sides[src].send(tt.start)
					sides[dst].expect(tt.start)
					switch how {
					case "replaced":
						g.join(side, "3.0")
					case "lost":
						_ = sides[side].ws.NetConn().Close()
					case "closed":
						_ = sides[side].ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
					}
					sides[other(side)].expect(tt.want)
				})
			}
		}
	}
}

func TestOnlyActiveStreamsAreReset(t *testing.T) {
	g := newRig(t, withServices("SSH", "HTTP"))
	d, s := g.join(dst, "3.0"), g.join(src, "3.0")
	s.send(start("SSH", 1, 1), start("HTTP", 2, 1), reset("SSH", 1), reset("HTTP", 99))
	d.expect(start("SSH", 1, 1), start("HTTP", 2, 1), reset("SSH", 1), reset("HTTP", 99))
	d = g.join(dst, "3.0")
	s.expect(reset("HTTP", 2))
	s.send(start("SSH", 3, 1))
	d.expect(start("SSH", 3, 1))
}

func TestStreamsStartedWithoutADestinationAreReset(t *testing.T) {
	g := newRig(t)
	s := g.join(src, "3.0")
	s.send(start("SSH", 1, 1), data("SSH", 1, 1, "lost"), frame.Message{Type: frame.ConnectionStart, StreamID: 1, ServiceID: "SSH", ConnectionID: 2})
	s.expect(reset("SSH", 1), reset("SSH", 1))
	d := g.join(dst, "3.0")
	s.send(start("SSH", 2, 1))
	d.expect(start("SSH", 2, 1))
}

func TestALateMessageInTheFormOfAnEarlierSourceIsDropped(t *testing.T) {
	g := newRig(t)
	d, _ := g.streaming()
	s := g.join(src, "3.0")
	d.expect(reset("SSH", 1))
	s.send(start("", 1, 0))
	d.expect(start("", 1, 0))
	d.send(data("SSH", 1, 1, "late"), data("", 1, 0, "x"))
	s.expect(data("", 1, 0, "x"))
	if v := g.relay.Violations(); len(v) != 0 {
		t.Errorf("violations %+v", v)
	}
}

func TestServiceIsAddedToTheMessagesOfAV1Source(t *testing.T) {
	g := newRig(t, with(func(c *Config) { c.AddServiceToV1 = true }))
	d, s := g.join(dst, "3.0"), g.join(src, "1.0")
	s.send(start("", 1, 0), data("", 1, 0, "x"))
	d.expect(start("SSH", 1, 0), data("SSH", 1, 0, "x"))
	d.send(data("SSH", 1, 0, "y"))
	s.expect(data("", 1, 0, "y"))
	g.join(dst, "3.0")
	s.expect(reset("", 1))
	if v := g.relay.Violations(); len(v) != 0 {
		t.Errorf("violations %+v", v)
	}
}

func TestTheLongestWebsocketMessagePasses(t *testing.T) {
	g := newRig(t)
	d, s := g.join(dst, "3.0"), g.join(src, "3.0")
	b := longMessage(t)
	if len(b) != frame.MaxWebsocketMessage+1 {
		t.Fatalf("%d bytes", len(b))
	}
	s.sendRaw(websocket.BinaryMessage, b[:frame.MaxWebsocketMessage])
	s.sendRaw(websocket.BinaryMessage, b[frame.MaxWebsocketMessage:])
	s.send(start("SSH", 1, 1))
	var m frame.Message
	for m.Type != frame.StreamStart {
		if err := d.frames.Next(&m); err != nil {
			t.Fatal(err)
		}
	}
}
