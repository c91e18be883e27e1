package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Control packet types that a client which only subscribes can receive (MQTT 3.1.1, section 2.2.1).
const (
	packetConnack  = 2
	packetPublish  = 3
	packetSuback   = 9
	packetPingresp = 13
)

const (
	// packetLimit bounds a PUBLISH, in bytes without its fixed header. AWS IoT Core's limit is 128 KiB of
	// payload; paho would allocate whatever a header announces, up to 256 MB.
	packetLimit = 256 << 10

	// writeLimit bounds one write. paho's keep-alive writes its ping itself and would wait behind a full
	// socket buffer for ever.
	writeLimit = 10 * time.Second
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

// mqttConn stands between paho and the connection. It reads along and ends the connection, before paho acts
// on it, at what paho takes badly: packets of any announced length, a CONNACK code that paho takes for
// success, a SUBACK with more codes than filters (an index out of range). It also puts a limit on every
// write and on silence, and keeps the first error, which is the cause that paho's own errors obscure.
type mqttConn struct {
	net.Conn

	// silence ends the connection when nothing came for so long. It starts with the CONNACK, until when
	// paho's own deadline holds.
	silence time.Duration

	parser parser // used by the one reading goroutine

	once   sync.Once
	dead   chan struct{} // closed with the first error
	err    error         // set before dead is closed
	died   time.Time     // likewise
	closed atomic.Bool   // by this side; errors from then on mean nothing
}

func newMQTTConn(conn net.Conn, silence time.Duration) *mqttConn {
	return &mqttConn{Conn: conn, silence: silence, dead: make(chan struct{})}
}

// Read reads and inspects. Nothing of a packet's body is returned before its header was found good.
func (g *mqttConn) Read(p []byte) (int, error) {
	select {
	case <-g.dead:
		return 0, g.err
	default:
	}
	if g.parser.connected {
		if err := g.SetReadDeadline(time.Now().Add(g.silence)); err != nil {
			return 0, g.fail(err)
		}
	}
	n, err := g.Conn.Read(p)
	if broken := g.parser.inspect(p[:n]); broken != nil {
		return 0, g.fail(broken)
	}
	if err != nil {
		if g.parser.connected && errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("nothing came from the broker for %v: %w", g.silence, err)
		}
		return n, g.fail(err)
	}
	return n, nil
}

// Write writes p within writeLimit.
func (g *mqttConn) Write(p []byte) (int, error) {
	if err := g.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, g.fail(err)
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		return n, g.fail(err)
	}
	return n, nil
}

// Close closes the connection. What reads and writes tell from then on is not the cause of anything.
func (g *mqttConn) Close() error {
	g.closed.Store(true)
	return g.Conn.Close()
}

func (g *mqttConn) fail(err error) error {
	if g.closed.Load() {
		return err
	}
	g.once.Do(func() {
		g.err, g.died = err, time.Now()
		close(g.dead)
	})
	return err
}

// parser follows the packets of the broker's byte stream, in pieces of any size. The zero value stands
// before the first packet.
type parser struct {
	connected bool // a CONNACK with code 0 came

	state     int // one of the constants below
	kind      byte
	remaining int // while inLength: the length so far; while inBody: bytes to come
	digits    int // length bytes seen
	body      [4]byte
	seen      int // bytes of the body seen, up to len(body)
}

const (
	inType = iota
	inLength
	inBody
)

func (r *parser) inspect(p []byte) error {
	for len(p) > 0 {
		switch r.state {
		case inType:
			if err := r.begin(p[0]); err != nil {
				return err
			}
			p = p[1:]
		case inLength:
			if err := r.length(p[0]); err != nil {
				return err
			}
			p = p[1:]
		case inBody:
			n := min(len(p), r.remaining)
			if r.seen < len(r.body) {
				r.seen += copy(r.body[r.seen:], p[:n])
			}
			r.remaining -= n
			p = p[n:]
			if r.remaining == 0 {
				if err := r.end(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *parser) begin(b byte) error {
	*r = parser{connected: r.connected, state: inLength, kind: b >> 4}
	flags := b & 0x0f
	switch {
	case !r.connected && r.kind != packetConnack:
		return &protocolError{"its first packet is no CONNACK"}
	case r.connected && r.kind == packetConnack:
		return &protocolError{"a second CONNACK"}
	case r.kind == packetPublish:
		// The subscription is for QoS 1, so nothing may come at 2 (section 3.8.4), and 3 does not exist.
		// paho would keep each QoS 2 message in memory until its release.
		if flags&0x06 > 0x02 {
			return &protocolError{fmt.Sprintf("a PUBLISH of QoS %d", flags>>1&3)}
		}
	case r.kind != packetConnack && r.kind != packetSuback && r.kind != packetPingresp:
		return &protocolError{fmt.Sprintf("a packet of type %d", r.kind)}
	case flags != 0:
		return &protocolError{fmt.Sprintf("a packet of type %d with flags %d", r.kind, flags)}
	}
	return nil
}

// length takes one byte of the remaining length (section 2.2.3).
func (r *parser) length(b byte) error {
	r.remaining |= int(b&0x7f) << (7 * r.digits)
	r.digits++
	if b&0x80 != 0 {
		if r.digits == 4 {
			return &protocolError{"a remaining length of more than four bytes"}
		}
		return nil
	}
	switch want := map[byte]int{packetConnack: 2, packetSuback: 3, packetPingresp: 0}; {
	case r.kind == packetPublish && r.remaining > packetLimit:
		return &protocolError{fmt.Sprintf("a PUBLISH of %d bytes, more than the %d allowed", r.remaining, packetLimit)}
	case r.kind != packetPublish && r.remaining != want[r.kind]:
		return &protocolError{fmt.Sprintf("a packet of type %d with %d bytes", r.kind, r.remaining)}
	}
	r.state = inBody
	if r.remaining == 0 {
		return r.end()
	}
	return nil
}

func (r *parser) end() error {
	r.state = inType
	if r.kind == packetConnack {
		if code := r.body[1]; code != 0 {
			return &refusedError{code}
		}
		r.connected = true
	}
	return nil
}
