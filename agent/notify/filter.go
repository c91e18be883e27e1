package notify

import "fmt"

// Control packet types that a client which only subscribes can receive (MQTT 3.1.1, section 2.2.1).
const (
	packetConnack  = 2
	packetPublish  = 3
	packetSuback   = 9
	packetPingresp = 13
)

// refusedError is a CONNACK with a return code that is not 0.
type refusedError struct{ code byte }

// Error names the code. 1 to 5 are those of MQTT 3.1.1, section 3.2.2.3; 7 is AWS IoT Core's own.
func (e *refusedError) Error() string {
	names := map[byte]string{
		1: "unacceptable protocol version", 2: "client id rejected", 3: "server unavailable",
		4: "bad user name or password", 5: "not authorized", 7: "not authorized",
	}
	name, ok := names[e.code]
	if !ok {
		name = "unknown reason"
	}
	return fmt.Sprintf("broker refused CONNECT with return code %d (%s)", e.code, name)
}

// protocolError is a packet that the broker should not have sent.
type protocolError struct{ what string }

// Error says which.
func (e *protocolError) Error() string { return "broker broke the MQTT protocol: " + e.what }

// filter follows the packets of the broker's byte stream, in pieces of any size, and passes them on. The
// zero value stands before the first packet.
type filter struct {
	connected bool // a CONNACK with code 0 came

	state     int // one of the constants below
	kind      byte
	first     byte // of the packet's header
	remaining int  // while inLength: the length so far; while inBody: bytes to come
	cut       int  // the last bytes of the body, which are dropped
	digits    int  // length bytes seen
	body      [4]byte
	seen      int // bytes of the body seen, up to len(body)
}

const (
	inType = iota
	inLength
	inBody
)

// cutting reports whether the rest of a PUBLISH is being dropped.
func (f *filter) cutting() bool {
	return f.state == inBody && f.cut > 0 && f.remaining <= f.cut
}

// pass appends to out what of p paho may see. A header is held back until it is complete.
func (f *filter) pass(out, p []byte) ([]byte, error) {
	for len(p) > 0 {
		switch f.state {
		case inType:
			if err := f.begin(p[0]); err != nil {
				return out, err
			}
			p = p[1:]
		case inLength:
			if err := f.length(p[0]); err != nil {
				return out, err
			}
			p = p[1:]
			if f.state != inLength {
				out = f.header(out)
			}
		case inBody:
			n := min(len(p), f.remaining)
			if f.seen < len(f.body) {
				f.seen += copy(f.body[f.seen:], p[:n])
			}
			out = append(out, p[:max(0, min(n, f.remaining-f.cut))]...)
			f.remaining -= n
			p = p[n:]
			if f.remaining == 0 {
				if err := f.end(); err != nil {
					return out, err
				}
			}
		}
	}
	return out, nil
}

// header appends the fixed header of the packet as it is passed on.
func (f *filter) header(out []byte) []byte {
	out = append(out, f.first)
	for n := f.remaining - f.cut; ; n >>= 7 {
		if n < 0x80 {
			return append(out, byte(n)) //nolint:gosec // n is below 128
		}
		out = append(out, byte(n&0x7f|0x80)) //nolint:gosec // eight bits
	}
}

func (f *filter) begin(b byte) error {
	*f = filter{connected: f.connected, state: inLength, kind: b >> 4, first: b}
	flags := b & 0x0f
	switch {
	case !f.connected && f.kind != packetConnack:
		return &protocolError{"its first packet is no CONNACK"}
	case f.connected && f.kind == packetConnack:
		return &protocolError{"a second CONNACK"}
	case f.kind == packetPublish:
		// The subscription is for QoS 1, so nothing may come at 2 (section 3.8.4), and 3 does not exist.
		// paho would keep each QoS 2 message in memory until its release.
		if flags&0x06 > 0x02 {
			return &protocolError{fmt.Sprintf("a PUBLISH of QoS %d", flags>>1&3)}
		}
	case f.kind != packetConnack && f.kind != packetSuback && f.kind != packetPingresp:
		return &protocolError{fmt.Sprintf("a packet of type %d", f.kind)}
	case flags != 0:
		return &protocolError{fmt.Sprintf("a packet of type %d with flags %d", f.kind, flags)}
	}
	return nil
}

// length takes one byte of the remaining length (section 2.2.3).
func (f *filter) length(b byte) error {
	f.remaining |= int(b&0x7f) << (7 * f.digits)
	f.digits++
	if b&0x80 != 0 {
		if f.digits == 4 {
			return &protocolError{"a remaining length of more than four bytes"}
		}
		return nil
	}
	switch want := map[byte]int{packetConnack: 2, packetSuback: 3, packetPingresp: 0}; {
	case f.kind == packetPublish:
		f.cut = max(0, f.remaining-packetLimit)
	case f.remaining != want[f.kind]:
		return &protocolError{fmt.Sprintf("a packet of type %d with %d bytes", f.kind, f.remaining)}
	}
	f.state = inBody
	if f.remaining == 0 {
		return f.end()
	}
	return nil
}

func (f *filter) end() error {
	f.state = inType
	if f.kind == packetConnack {
		if code := f.body[1]; code != 0 {
			return &refusedError{code}
		}
		f.connected = true
	}
	return nil
}
