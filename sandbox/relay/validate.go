package relay

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// Rule names what a peer did wrong.
type Rule string

// The rules of the protocol guides, as far as a peer can break them.
const (
	RuleWebsocket     Rule = "websocket protocol error"
	RuleText          Rule = "text message"
	RuleTooLong       Rule = "websocket message too long"
	RulePayload       Rule = "payload too long"
	RuleMalformed     Rule = "malformed message"
	RuleUnknownField  Rule = "unknown field"
	RuleUnknownType   Rule = "unknown type"
	RuleSender        Rule = "message that this side may not send"
	RuleStreamID      Rule = "stream id 0"
	RuleNeverStarted  Rule = "data for a service that never had a stream"
	RuleNoService     Rule = "service that the tunnel does not have"
	RuleMixedForms    Rule = "service id in a stream that was started without one"
	RuleAlternates    Rule = "source alternates between messages with and without service id"
	RuleVersion       Rule = "field or type of a later version than was negotiated"
	RuleNotMirrored   Rule = "connection id or type for a source that sends none"
	RuleNoServiceID   Rule = "no service id for a source that sends one"
	RuleTruncated     Rule = "end within a frame"
	closeCodeForRules      = websocket.ClosePolicyViolation
)

// Violation is one breach of a rule.
type Violation struct { //nolint:errname // a value that is shown and counted; an error on its way there only
	Tunnel string
	Side   tunnels.Mode
	Rule   Rule
	Detail string
	Ended  bool // the relay closed the websocket for it
}

func (v *Violation) Error() string { return string(v.Rule) + ": " + v.Detail }

func (v *Violation) code() int {
	switch v.Rule {
	case RuleText:
		return websocket.CloseUnsupportedData
	case RuleTooLong:
		return websocket.CloseMessageTooBig
	default:
		return closeCodeForRules
	}
}

func broken(r Rule, format string, args ...any) *Violation {
	return &Violation{Rule: r, Detail: fmt.Sprintf(format, args...), Ended: true}
}

// nextFrame returns the first frame of b, nil when it is not complete.
func nextFrame(b []byte) []byte {
	if len(b) < frame.LengthSize {
		return nil
	}
	n := frame.LengthSize + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return nil
	}
	return b[:n]
}

// The wire types of fields 1 to 7.
var wireTypes = [8]byte{1: 0, 2: 0, 3: 0, 4: 2, 5: 2, 6: 2, 7: 0}

// checkFields walks over a message: only known fields, each in its wire type. The service closes on any
// other, whereas the codec must skip them.
func checkFields(b []byte) *Violation {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return broken(RuleMalformed, "field tag")
		}
		b = b[n:]
		number, wire := tag>>3, byte(tag&7)
		if number < 1 || number > 7 || wire != wireTypes[number] {
			return broken(RuleUnknownField, "field %d of wire type %d", number, wire)
		}
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return broken(RuleMalformed, "value of field %d", number)
		}
		b = b[n:]
		if wire == 2 {
			if v > uint64(len(b)) {
				return broken(RuleMalformed, "length of field %d", number)
			}
			b = b[v:]
		}
	}
	return nil
}

// decode takes the message out of a frame and checks what needs no knowledge of the tunnel.
func decode(raw []byte, m *frame.Message) *Violation {
	body := raw[frame.LengthSize:]
	if v := checkFields(body); v != nil {
		return v
	}
	if err := m.Unmarshal(body); err != nil {
		return broken(RuleMalformed, "%v", err)
	}
	switch {
	case m.Type == frame.Unknown, !m.Type.Known() && !m.Ignorable:
		return broken(RuleUnknownType, "%v", m.Type)
	case m.Type.Known() && m.StreamID == 0 && m.Type != frame.ServiceIDs && m.Type != frame.SessionReset:
		return broken(RuleStreamID, "%v", m.Type)
	case len(m.Payload) > frame.MaxPayload:
		return broken(RulePayload, "%d bytes", len(m.Payload))
	}
	return nil
}

// validate holds a message against the state of the tunnel. The lock is held.
func (l *link) validate(p *peer, m *frame.Message) *Violation {
	starts := m.Type == frame.StreamStart || m.Type == frame.ConnectionStart
	switch {
	case !m.Type.Known():
		return nil
	case m.Type == frame.ServiceIDs || m.Type == frame.SessionReset, starts && p.side == tunnels.Destination:
		return broken(RuleSender, "%v from the %s", m.Type, p.side)
	}
	if p.side == tunnels.Source {
		if v := validateForm(p, m); v != nil {
			return v
		}
	}
	service := m.ServiceID
	switch {
	case service != "" && !slices.Contains(l.services, service) && (starts || m.Type == frame.Data):
		return broken(RuleNoService, "%v for %q", m.Type, service)
	case starts || l.had[l.key(p, service)] != 0:
	case service != "" && l.streams[""] != nil && l.streams[""].id == m.StreamID:
		return broken(RuleMixedForms, "%v with service id %q in stream %d", m.Type, service, m.StreamID)
	case m.Type == frame.Data:
		return broken(RuleNeverStarted, "service id %q, stream %d", service, m.StreamID)
	}
	if p.side == tunnels.Destination {
		return l.validateMirror(m)
	}
	return nil
}

// validateMirror holds a destination to the form of its source. What it does otherwise is only noted, since nothing says
// that the service would close for it, and only when no earlier source of this tunnel can have been meant.
func (l *link) validateMirror(m *frame.Message) *Violation {
	var v *Violation
	switch h := l.had[m.ServiceID]; {
	case h == 0 && m.ServiceID == "" && len(l.had) > 0:
		v = broken(RuleNoServiceID, "%v, stream %d", m.Type, m.StreamID)
	case h != 0 && h&withConnections == 0 && (m.ConnectionID != 0 || m.Type == frame.ConnectionReset):
		v = broken(RuleNotMirrored, "%v, service id %q, connection %d", m.Type, m.ServiceID, m.ConnectionID)
	default:
		return nil
	}
	v.Ended = false
	return v
}

// validateForm holds a source to the version that it negotiated and to one form for the life of its websocket.
func validateForm(p *peer, m *frame.Message) *Violation {
	switch {
	case p.version < 2 && m.ServiceID != "":
		return broken(RuleVersion, "service id in V%d", p.version)
	case p.version < 3 && (m.ConnectionID != 0 || m.Type == frame.ConnectionStart || m.Type == frame.ConnectionReset):
		return broken(RuleVersion, "%v, connection %d in V%d", m.Type, m.ConnectionID, p.version)
	}
	form := namesService
	if m.ServiceID == "" {
		form = namesNone
	}
	switch {
	case p.form == formUnknown:
		p.form = form
	case p.form == namesNone && form == namesService && m.Type != frame.StreamStart && m.Type != frame.ConnectionStart:
		return broken(RuleMixedForms, "%v with service id %q", m.Type, m.ServiceID)
	case p.form != form:
		return broken(RuleAlternates, "%v with service id %q", m.Type, m.ServiceID)
	}
	return nil
}
