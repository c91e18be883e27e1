package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// kind is what happens on a connection. The client chooses it, and tells the target in a header.
type kind byte

const (
	request     kind = iota // the client sends, then the target answers, then the client closes
	answerFirst             // as request, but the target closes, behind its last byte
	duplex                  // both send at once; the client closes when all is there
	halfClose               // the client ends its input, and only then the target answers and closes
	slowClient              // as duplex, but the client reads little by little
	slowTarget              // as duplex, but the target does
	idle                    // as request, with a long silence in the middle of what the client sends
	clientGone              // the client closes in the middle
	targetGone              // the target closes in the middle
	targetReset             // the same with a TCP reset
	stall                   // the target reads nothing for a while: it may lose its connection
	kinds
)

var kindNames = [kinds]string{
	"request", "answer first", "duplex", "half close", "slow client", "slow target", "idle", "client gone", "target gone",
	"target reset", "stall",
}

func (k kind) String() string { return kindNames[k] }

// mayBeShort reports whether the connection's end comes before all was said, by its own will.
func (k kind) mayBeShort() bool { return k >= clientGone }

// talk is what is said on one connection.
type talk struct {
	id       uint64
	kind     kind
	up, down int64 // bytes after the header, from the client and from the target
	cut      int64 // clientGone, targetGone, targetReset: bytes of up before the end
	pause    time.Duration
}

const (
	headerSize = 48
	magic      = 0x43554c56
)

func (t *talk) header() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	le.PutUint32(b, magic)
	b[8] = byte(t.kind)
	for i, v := range []int64{int64(t.id), t.up, t.down, t.cut} { //nolint:gosec // the same bits
		le.PutUint64(b[9+8*i:], uint64(v)) //nolint:gosec // the same bits
	}
	le.PutUint32(b[41:], uint32(t.pause/time.Millisecond)) //nolint:gosec // seconds
	le.PutUint32(b[4:], crc32.ChecksumIEEE(b[8:]))
	return b
}

func parseHeader(b []byte) (t talk, err error) {
	le := binary.LittleEndian
	if le.Uint32(b) != magic || le.Uint32(b[4:]) != crc32.ChecksumIEEE(b[8:]) || b[8] >= byte(kinds) {
		return t, fmt.Errorf("the first bytes are not those that were sent: %x", b)
	}
	var v [4]int64
	for i := range v {
		v[i] = int64(le.Uint64(b[9+8*i:])) //nolint:gosec // the same bits
	}
	return talk{id: uint64(v[0]), kind: kind(b[8]), up: v[1], down: v[2], cut: v[3], //nolint:gosec // the same bits
		pause: time.Duration(le.Uint32(b[41:])) * time.Millisecond}, nil
}

const (
	piece     = 32 << 10 // of most reads and writes
	slowPiece = 8 << 10  // of a slow reader's
	slowPause = 5 * time.Millisecond
)

var pieces = sync.Pool{New: func() any { b := make([]byte, 2*piece); return &b }}

// side is one end of a connection that carries position-coded bytes.
type side struct {
	ctx   context.Context //nolint:containedctx // a side lives as long as one function call
	conn  net.Conn
	limit time.Duration // of each read and write: whatever happens, a connection ends
	clock func(n int64) // told of bytes that were checked
}

// What is against the rules whatever fault fired, beside a wrongByte.
var (
	errOverdue = errors.New("nothing moved, nor did it end")
	errMore    = errors.New("more came than was sent")
)

// send writes n bytes of p from an offset on.
func (s *side) send(p harness.Pattern, offset, n int64) error {
	buf, _ := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	for end := offset + n; offset < end; {
		b := (*buf)[:min(piece, end-offset)]
		p.Fill(b, offset)
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.limit))
		n, err := s.conn.Write(b)
		offset += int64(n)
		if err != nil {
			return s.verdict(err)
		}
	}
	return nil
}

// receive reads the first n bytes of p, and checks every one. It returns how many came.
func (s *side) receive(p harness.Pattern, n int64, slow bool) (got int64, err error) {
	buf, _ := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	size := int64(piece)
	if slow {
		size = slowPiece
	}
	for got < n {
		b := (*buf)[:min(size, n-got)]
		_ = s.conn.SetReadDeadline(time.Now().Add(s.limit))
		r, err := s.conn.Read(b)
		if r > 0 {
			if bad := p.Check(b[:r], (*buf)[piece:], got); bad != nil {
				return got, bad
			}
			got += int64(r)
			s.clock(int64(r))
		}
		if err != nil {
			return got, s.verdict(err)
		}
		if slow {
			pause(s.ctx, slowPause)
		}
	}
	return got, nil
}

// end waits for the end of what the other side sends: not a byte more may come.
func (s *side) end() error {
	var b [1]byte
	_ = s.conn.SetReadDeadline(time.Now().Add(s.limit))
	n, err := s.conn.Read(b[:])
	switch {
	case n > 0:
		return errMore
	case errors.Is(err, io.EOF):
		return nil
	}
	return s.verdict(err)
}

func (s *side) verdict(err error) error {
	var t net.Error
	if errors.As(err, &t) && t.Timeout() {
		return fmt.Errorf("%w within %v", errOverdue, s.limit)
	}
	return err
}

// closeWriting ends this side's half.
func (s *side) closeWriting() error {
	if h, ok := s.conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// pause waits, and reports whether the time passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
