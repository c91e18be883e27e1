package wsconn

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// Opcodes and bits of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	finalBit, reservedBits, opBits = 0x80, 0x70, 0x0f
	maskBit, lengthBits            = 0x80, 0x7f

	// maxControl is the longest payload of a control frame (section 5.5).
	maxControl = 125
	// maxHead is the longest head of a client's frame: with a 64-bit length and the masking key.
	maxHead = 2 + 8 + 4
)

// errCloseSent means that a close frame was sent, which nothing may follow (RFC 6455, section 5.5.1).
var errCloseSent = errors.New("the websocket is being closed")

// output writes the client's frames. Each is one Write, together with its probe, so that TLS makes as
// few records as possible. It allocates nothing per frame.
type output struct {
	conn     net.Conn
	link     *link         // below it
	timeout  time.Duration // for a message
	turn     chan struct{} // holds a token unless a write is in progress
	deadline time.Time     // of the connection
	closed   bool          // a close frame was sent
}

func newOutput(conn net.Conn, network *link, timeout time.Duration) *output {
	o := &output{conn: conn, link: network, timeout: timeout, turn: make(chan struct{}, 1)}
	o.turn <- struct{}{}
	return o
}

// outBuffers hold frames while they are masked. They are pooled: an idle connection keeps none.
var outBuffers = sync.Pool{New: func() any { return new(outBuffer) }}

type outBuffer struct {
	b   [maxHead + MaxMessage + maxHead + maxControl]byte
	key [keyRun + 3]byte
}

// keyRun is how many bytes are masked at once.
const keyRun = 1 << 10

// lock waits for the previous writer, for d at most.
func (o *output) lock(d time.Duration) error {
	select {
	case <-o.turn:
	default:
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-o.turn:
		case <-timer.C:
			return os.ErrDeadlineExceeded
		}
	}
	if o.closed {
		o.turn <- struct{}{}
		return errCloseSent
	}
	return nil
}

// message sends bufs as one binary message of size bytes, followed by a ping if probe is not 0.
func (o *output) message(probe uint64, size int, bufs [][]byte) error {
	if err := o.lock(o.timeout); err != nil {
		return err
	}
	buf, _ := outBuffers.Get().(*outBuffer)
	b := buf.b[:0]
	if size > 0 {
		var at int
		b, at = buf.head(b, opBinary, size)
		for _, p := range bufs {
			b = buf.mask(b, p, at)
		}
	}
	if probe != 0 {
		var text [maxProbe]byte
		b = buf.control(b, opPing, appendProbe(text[:0], probe))
	}
	err := o.write(b, o.timeout, o.timeout/8)
	outBuffers.Put(buf)
	o.turn <- struct{}{}
	return err
}

// control sends a control frame within d.
func (o *output) control(op byte, payload []byte, d time.Duration) error {
	start := time.Now()
	if err := o.lock(d); err != nil {
		return err
	}
	buf, _ := outBuffers.Get().(*outBuffer)
	err := o.write(buf.control(buf.b[:0], op, payload), d-time.Since(start), 0)
	outBuffers.Put(buf)
	o.closed = op == opClose
	o.turn <- struct{}{}
	return err
}

// write sends b within d, or up to slack earlier: setting a deadline for each message would be too slow.
func (o *output) write(b []byte, d, slack time.Duration) error {
	now := time.Now()
	if left := o.deadline.Sub(now); left > d || left < d-slack {
		o.deadline = now.Add(d)
		_ = o.conn.SetWriteDeadline(o.deadline)
	}
	if !o.link.secured || len(b) <= recordSize {
		_, err := o.conn.Write(b)
		return err
	}
	o.link.gather()
	_, err := o.conn.Write(b)
	if last := o.link.flush(); err == nil {
		err = last
	}
	return err
}

// head appends a frame's head to b, with a new masking key, and returns where the payload begins in b.
func (buf *outBuffer) head(b []byte, op byte, size int) ([]byte, int) {
	switch {
	case size <= maxControl:
		b = append(b, finalBit|op, maskBit|byte(size)) //nolint:gosec // it fits
	case size <= 0xffff:
		b = append(b, finalBit|op, maskBit|126)
		b = binary.BigEndian.AppendUint16(b, uint16(size))
	default:
		b = append(b, finalBit|op, maskBit|127)
		b = binary.BigEndian.AppendUint64(b, uint64(size))
	}
	// The key must be new and unpredictable for each frame (section 5.3): this generator is ChaCha8.
	b = binary.LittleEndian.AppendUint32(b, rand.Uint32()) //nolint:gosec // see above
	need := min(size+3, len(buf.key))
	copy(buf.key[:], b[len(b)-4:])
	for n := 4; n < need; n *= 2 {
		copy(buf.key[n:need], buf.key[:n])
	}
	return b, len(b)
}

// mask appends p to b, masked. The frame's payload begins at b[at].
func (buf *outBuffer) mask(b, p []byte, at int) []byte {
	for len(p) > 0 {
		n, end := min(len(p), keyRun), len(b)
		phase := (end - at) % 4
		b = b[:end+n]
		subtle.XORBytes(b[end:], p[:n], buf.key[phase:phase+n])
		p = p[n:]
	}
	return b
}

// control appends a whole control frame to b.
func (buf *outBuffer) control(b []byte, op byte, payload []byte) []byte {
	b, at := buf.head(b, op, len(payload))
	return buf.mask(b, payload, at)
}
