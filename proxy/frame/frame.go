package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Sizes in bytes, from the V3 protocol guide.
const (
	// LengthSize is the size of a frame's length prefix, unsigned and big endian.
	LengthSize = 2
	// MaxMessage is the largest encoded message that a length prefix can announce.
	MaxMessage = 65535
	// MaxFrame is a whole frame at most. It does not fit 16 bits: compute lengths as int.
	MaxFrame = LengthSize + MaxMessage
	// MaxPayload is the most that one DATA message may carry (63 KiB).
	MaxPayload = 64512
	// MaxWebsocketMessage is the most that one websocket message may carry. Frames and websocket
	// messages are not aligned: one message can hold many frames, or a slice of one.
	MaxWebsocketMessage = 131076
)

// Type says what a message is for.
type Type int32

// The message types. Those from ConnectionStart on exist since V3, ServiceIDs since V2.
const (
	Unknown         Type = 0
	Data            Type = 1
	StreamStart     Type = 2
	StreamReset     Type = 3
	SessionReset    Type = 4
	ServiceIDs      Type = 5
	ConnectionStart Type = 6
	ConnectionReset Type = 7
)

var typeNames = [...]string{
	"UNKNOWN", "DATA", "STREAM_START", "STREAM_RESET", "SESSION_RESET", "SERVICE_IDS", "CONNECTION_START", "CONNECTION_RESET",
}

// Known reports whether t is one of the message types above other than Unknown.
func (t Type) Known() bool { return t > Unknown && int(t) < len(typeNames) }

// String is the type's name in the protocol guide.
func (t Type) String() string {
	if t == Unknown || t.Known() {
		return typeNames[t]
	}
	return fmt.Sprintf("TYPE_%d", int32(t))
}

// Message is one message of the tunnel. Zero, empty and absent fields are the same on the wire.
type Message struct {
	Type      Type
	StreamID  int32 // never 0 on messages of a stream; negative ids are legal
	Ignorable bool  // a receiver that does not know the type may skip the message

	// Payload of DATA, at most MaxPayload bytes. After decoding it aliases the decoder's input.
	Payload []byte

	ServiceID           string   // since V2
	AvailableServiceIDs []string // of SERVICE_IDS, since V2
	ConnectionID        uint32   // since V3; absent means 1 in a V3 stream
}

// The message's field numbers.
const (
	fieldType protowire.Number = iota + 1
	fieldStreamID
	fieldIgnorable
	fieldPayload
	fieldServiceID
	fieldAvailableServiceIDs
	fieldConnectionID
)

// ErrMalformed is wrapped by every error of decoding: the bytes are no message. Nothing after them in
// the same websocket can be trusted.
var ErrMalformed = errors.New("malformed tunnel message")

// ErrTooLong is wrapped when a message cannot be sent since it does not fit a frame.
var ErrTooLong = errors.New("tunnel message too long")

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// Unmarshal decodes one message without its length prefix. m.Payload aliases b. Unknown fields are
// skipped, as proto3 demands. A ServiceID that m held before is kept when it is the same, so that a
// Message used again for each frame of one service costs no allocation.
func (m *Message) Unmarshal(b []byte) error {
	return m.unmarshal(b, func(v []byte) string {
		if m.ServiceID == string(v) {
			return m.ServiceID
		}
		return string(v)
	})
}

func (m *Message) unmarshal(b []byte, intern func([]byte) string) error {
	previous := m.ServiceID
	m.Type, m.StreamID, m.Ignorable, m.Payload, m.ConnectionID = 0, 0, false, nil, 0
	m.AvailableServiceIDs = m.AvailableServiceIDs[:0]
	hasService := false
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 || number > protowire.MaxValidNumber {
			return malformed("field tag")
		}
		b = b[n:]
		switch {
		case wire == protowire.VarintType && varintField(number):
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return malformed("number in field " + fieldName(number))
			}
			b = b[n:]
			m.setNumber(number, v)
		case wire == protowire.BytesType && bytesField(number):
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return malformed("length of field " + fieldName(number))
			}
			b = b[n:]
			if number == fieldPayload {
				m.Payload = v
				continue
			}
			if !utf8.Valid(v) {
				return malformed("field " + fieldName(number) + " is not UTF-8")
			}
			if number == fieldServiceID {
				m.ServiceID = previous // what intern compares with
				m.ServiceID, hasService = intern(v), true
			} else {
				m.AvailableServiceIDs = append(m.AvailableServiceIDs, string(v))
			}
		default:
			n := protowire.ConsumeFieldValue(number, wire, b)
			if n < 0 {
				return malformed("unknown field")
			}
			b = b[n:]
		}
	}
	if !hasService {
		m.ServiceID = ""
	}
	return nil
}

func (m *Message) setNumber(number protowire.Number, v uint64) {
	switch number {
	case fieldType:
		m.Type = Type(int32(v)) //nolint:gosec // proto3: an enum keeps the low 32 bits
	case fieldStreamID:
		m.StreamID = int32(v) //nolint:gosec // proto3: int32 keeps the low 32 bits
	case fieldIgnorable:
		m.Ignorable = v != 0
	case fieldConnectionID:
		m.ConnectionID = uint32(v) //nolint:gosec // proto3: uint32 keeps the low 32 bits
	default: // see varintField
	}
}

func varintField(n protowire.Number) bool {
	return n == fieldType || n == fieldStreamID || n == fieldIgnorable || n == fieldConnectionID
}

func bytesField(n protowire.Number) bool {
	return n == fieldPayload || n == fieldServiceID || n == fieldAvailableServiceIDs
}

func fieldName(n protowire.Number) string {
	return [...]string{"?", "type", "streamId", "ignorable", "payload", "serviceId", "availableServiceIds", "connectionId"}[n]
}

// Append adds the encoded message, without a length prefix, to dst. Fields stand in the order of their
// numbers and zero values are left out, as every protobuf encoder does it.
func (m *Message) Append(dst []byte) []byte {
	dst = m.appendBeforePayload(dst)
	if len(m.Payload) > 0 {
		dst = protowire.AppendTag(dst, fieldPayload, protowire.BytesType)
		dst = protowire.AppendBytes(dst, m.Payload)
	}
	return m.appendAfterPayload(dst)
}

func (m *Message) appendBeforePayload(dst []byte) []byte {
	dst = appendNumber(dst, fieldType, uint64(m.Type))         //nolint:gosec // proto3 sign extension
	dst = appendNumber(dst, fieldStreamID, uint64(m.StreamID)) //nolint:gosec // proto3 sign extension
	if m.Ignorable {
		dst = appendNumber(dst, fieldIgnorable, 1)
	}
	return dst
}

func (m *Message) appendAfterPayload(dst []byte) []byte {
	if m.ServiceID != "" {
		dst = protowire.AppendTag(dst, fieldServiceID, protowire.BytesType)
		dst = protowire.AppendString(dst, m.ServiceID)
	}
	for _, id := range m.AvailableServiceIDs {
		dst = protowire.AppendTag(dst, fieldAvailableServiceIDs, protowire.BytesType)
		dst = protowire.AppendString(dst, id)
	}
	return appendNumber(dst, fieldConnectionID, uint64(m.ConnectionID))
}

func appendNumber(dst []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), v)
}

// AppendFrame adds the message with its length prefix to dst. It fails, with dst unchanged, when the
// payload or the whole message is over the protocol's limits.
func (m *Message) AppendFrame(dst []byte) ([]byte, error) {
	if len(m.Payload) > MaxPayload {
		return dst, fmt.Errorf("%w: payload of %d bytes, at most %d", ErrTooLong, len(m.Payload), MaxPayload)
	}
	start := len(dst)
	out := m.Append(append(dst, 0, 0))
	n := len(out) - start - LengthSize
	if n > MaxMessage {
		return dst, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, n, MaxMessage)
	}
	binary.BigEndian.PutUint16(out[start:], uint16(n)) //nolint:gosec // at most MaxMessage
	return out, nil
}
