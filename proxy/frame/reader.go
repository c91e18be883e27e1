package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// smallBuffer serves a tunnel that is idle or carries keystrokes.
	smallBuffer = 4 << 10
	// largeBuffer takes a full frame and more, so that bulk is read in few, large pieces.
	largeBuffer = MaxFrame + 8<<10
	// shrinkAfter is how many small fills in a row give a large buffer back.
	shrinkAfter = 64
	// maxInterned bounds the service ids that are remembered, whatever the peer sends.
	maxInterned = 64
)

// Reader takes a byte stream apart into messages, wherever the stream was cut. It allocates nothing per
// frame in steady state. It is not safe for concurrent use.
type Reader struct {
	src        io.Reader
	buf        []byte
	start, end int // what is read and not yet taken: buf[start:end]
	small      int // fills in a row that would have fitted a small buffer
	services   map[string]string
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, services: make(map[string]string)}
}

// Next reads the next message into m. m.Payload is valid until the next call. io.EOF means that the
// stream ended between two frames, io.ErrUnexpectedEOF that it ended within one; an error that wraps
// ErrMalformed ends the stream for good. Other errors are the source's own.
func (r *Reader) Next(m *Message) error {
	if err := r.need(LengthSize); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(r.buf[r.start:]))
	if err := r.need(LengthSize + n); err != nil {
		return err
	}
	body := r.buf[r.start+LengthSize : r.start+LengthSize+n]
	r.start += LengthSize + n
	return m.unmarshal(body, r.intern)
}

// need returns once n unread bytes are in the buffer.
func (r *Reader) need(n int) error {
	for r.end-r.start < n {
		r.makeRoom(n)
		got, err := r.src.Read(r.buf[r.end:])
		if got < 0 || got > len(r.buf)-r.end {
			return fmt.Errorf("read %d bytes into a buffer of %d", got, len(r.buf)-r.end)
		}
		r.end += got
		if got <= smallBuffer/2 {
			r.small++
		} else {
			r.small = 0
		}
		if err != nil && r.end-r.start < n {
			if errors.Is(err, io.EOF) && r.end > r.start {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// makeRoom makes space behind r.end for a frame of n bytes, growing or shrinking the buffer as the
// traffic asks for.
func (r *Reader) makeRoom(n int) {
	unread := r.buf[r.start:r.end]
	switch {
	case n > len(r.buf) || len(r.buf) == smallBuffer && len(unread) == 0 && r.small == 0:
		size := smallBuffer
		if r.buf != nil {
			size = largeBuffer
		}
		buf := make([]byte, size)
		r.end, r.start = copy(buf, unread), 0
		r.buf = buf
	case len(unread) == 0 && len(r.buf) > smallBuffer && r.small >= shrinkAfter:
		r.buf, r.start, r.end = make([]byte, smallBuffer), 0, 0
	case len(unread) == 0:
		r.start, r.end = 0, 0
	case len(r.buf)-r.start < n:
		r.end, r.start = copy(r.buf, unread), 0
	}
}

// intern returns v as a string, the same one for each frame of a service.
func (r *Reader) intern(v []byte) string {
	if s, ok := r.services[string(v)]; ok {
		return s
	}
	s := string(v)
	if len(r.services) < maxInterned {
		r.services[s] = s
	}
	return s
}
