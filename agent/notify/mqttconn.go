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

const (
	// packetLimit bounds the PUBLISH that paho sees, in bytes without its fixed header: paho would
	// allocate whatever a header announces, up to 256 MB. A longer one is cut, not refused: the broker
	// would send it again at each reconnect. The longest topic and more than MaxPayload fit in, so the
	// inbox still sees that the payload is too long, drops it and acknowledges it.
	packetLimit = 96 << 10

	// readSize is the size of the buffer in front of paho, which reads headers byte by byte.
	readSize = 2 << 10

	// cutPing is how often a PUBLISH that is being cut stands for an answer to paho's pings, whose
	// real answers wait behind it.
	cutPing = 4 * time.Second

	// writeLimit bounds one write. paho's keep-alive writes its ping itself and would wait behind a full
	// socket buffer indefinitely.
	writeLimit = 10 * time.Second
)

// mqttConn is the connection as paho sees it. It follows the packets and ends the connection, before paho
// acts on it, at what paho takes badly: a CONNACK code that paho takes for success, or a SUBACK with
// more codes than filters (an index out of range). It cuts a PUBLISH that is too long, so that paho's
// memory stays bounded. It limits each write and each silence, and keeps the first error: the cause that
// paho's own errors obscure.
type mqttConn struct {
	net.Conn

	// silence ends the connection when nothing came for so long. It starts with the CONNACK, until when
	// paho's own deadline holds.
	silence time.Duration

	// Used by the one reading goroutine.
	filter filter
	buf    []byte    // as read
	passed []byte    // what of it has passed the filter
	out    []byte    // the part of passed that paho has not read
	pinged time.Time // when a PINGRESP was last put in

	once   sync.Once
	dead   chan struct{} // closed with the first error
	err    error         // set before dead is closed
	died   time.Time     // likewise
	closed atomic.Bool   // by this side; errors from then on mean nothing
}

func newMQTTConn(conn net.Conn, silence time.Duration) *mqttConn {
	return &mqttConn{Conn: conn, silence: silence, dead: make(chan struct{})}
}

// Read returns what has passed the filter. Nothing of a packet's body is returned before its header was
// found good.
func (g *mqttConn) Read(p []byte) (int, error) {
	for len(g.out) == 0 {
		if err := g.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, g.out)
	g.out = g.out[n:]
	return n, nil
}

// fill reads once, and filters.
func (g *mqttConn) fill() error {
	select {
	case <-g.dead:
		return g.err
	default:
	}
	began := time.Now()
	if g.filter.connected {
		if err := g.SetReadDeadline(began.Add(g.silence)); err != nil {
			return g.fail(err)
		}
	}
	if g.buf == nil {
		g.buf = make([]byte, readSize)
	}
	n, err := g.Conn.Read(g.buf)
	connected := g.filter.connected
	out, broken := g.filter.pass(g.passed[:0], g.buf[:n])
	if broken != nil {
		return g.fail(broken)
	}
	if g.filter.cutting() && time.Since(g.pinged) >= cutPing {
		out = append(out, packetPingresp<<4, 0)
		g.pinged = time.Now()
	}
	g.passed, g.out = out, out
	if err == nil {
		return nil
	}
	if connected && errors.Is(err, os.ErrDeadlineExceeded) && time.Since(began) >= g.silence {
		err = fmt.Errorf("nothing came from the broker for %v: %w", g.silence, err)
	}
	if err = g.fail(err); len(out) > 0 {
		return nil // the next read returns the error
	}
	return err
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
