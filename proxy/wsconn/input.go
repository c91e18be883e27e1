package wsconn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/culvert-iot/culvert/internal/clean"
)

// readBufferSize is for frame heads and control frames; longer payloads bypass the buffer.
const readBufferSize = 4 << 10

// violation is a breach of RFC 6455 by the service.
type violation string

func (v violation) Error() string { return "websocket: " + string(v) }

// input reads the service's frames and turns binary messages into one stream. It allocates nothing per
// message, pong or frame.
type input struct {
	br      *bufio.Reader
	within  bool // a message is incomplete
	left    int  // payload bytes of the frame being read
	pong    func(payload []byte)
	ping    func(payload []byte)
	secrets scrubber // of the handshake: a close frame may repeat them
}

func newInput(r io.Reader) *input { return &input{br: bufio.NewReaderSize(r, readBufferSize)} }

// read reads at least one byte of a binary message. A close frame is a *CloseError.
func (in *input) read(p []byte) (int, error) {
	for in.left == 0 {
		if err := in.next(); err != nil {
			return 0, err
		}
	}
	n, err := in.br.Read(p[:min(len(p), in.left)])
	in.left -= n
	if n > 0 {
		return n, nil // an error with it comes again at the next read
	}
	return 0, orEOF(err)
}

// next reads a frame's head, and a control frame as a whole.
func (in *input) next() error {
	op, final, size, err := in.head()
	if err != nil {
		return err
	}
	if op >= opClose {
		return in.control(op, size)
	}
	if size > MaxMessage { // the guide bounds a frame; messages are a stream here and may have any length
		return ErrMessageTooBig
	}
	if op == opText {
		return ErrTextMessage
	}
	in.within, in.left = !final, int(size)
	return nil
}

// head reads and checks a frame's head (RFC 6455, section 5.2).
func (in *input) head() (op byte, final bool, size uint64, err error) {
	b, err := in.br.Peek(2)
	if err != nil {
		return 0, false, 0, orEOF(err)
	}
	op, final, size = b[0]&opBits, b[0]&finalBit != 0, uint64(b[1]&lengthBits)
	if wrong := in.check(op, final, size, b[0]&reservedBits != 0, b[1]&maskBit != 0); wrong != "" {
		return 0, false, 0, violation(wrong)
	}
	_, _ = in.br.Discard(2)
	extra := 0
	switch size {
	case 126:
		extra = 2
	case 127:
		extra = 8
	}
	if extra > 0 {
		if b, err = in.br.Peek(extra); err != nil {
			return 0, false, 0, orEOF(err)
		}
		size = 0
		for _, v := range b {
			size = size<<8 | uint64(v)
		}
		_, _ = in.br.Discard(extra)
	}
	return op, final, size, nil
}

// check names what is wrong with a frame's head, briefly enough for a close frame.
func (in *input) check(op byte, final bool, size uint64, reserved, masked bool) string {
	var wrong []string
	add := func(broken bool, rule string) {
		if broken {
			wrong = append(wrong, rule)
		}
	}
	add(reserved, "reserved bits set")
	switch op {
	case opClose, opPing, opPong:
		add(size > maxControl, "len > 125 for control")
		add(!final, "FIN not set on control")
	case opText, opBinary:
		add(in.within, "data before FIN")
	case opContinuation:
		add(!in.within, "continuation after FIN")
	default:
		add(true, fmt.Sprintf("bad opcode %d", op))
	}
	add(masked, "bad MASK")
	return strings.Join(wrong, ", ")
}

// control reads a control frame. One may come between the frames of a message (section 5.4).
func (in *input) control(op byte, size uint64) error {
	payload, err := in.br.Peek(int(size)) //nolint:gosec // checked
	if err != nil {
		return orEOF(err)
	}
	switch op {
	case opPing:
		in.ping(payload)
	case opPong:
		in.pong(payload)
	default:
		return in.closed(payload)
	}
	_, _ = in.br.Discard(len(payload))
	return nil
}

// closed turns a close frame into an error (section 5.5.1).
func (in *input) closed(payload []byte) error {
	if len(payload) < 2 {
		return &CloseError{Code: closeNoStatus}
	}
	code, reason := int(binary.BigEndian.Uint16(payload)), payload[2:]
	switch {
	case !mayClose(code):
		return violation(fmt.Sprintf("bad close code %d", code))
	case !utf8.Valid(reason):
		return violation("invalid utf8 payload in close frame")
	}
	return &CloseError{Code: code, Reason: clean.Line(in.secrets.text(string(reason)), maxHeader)}
}

// mayClose reports whether a close frame may carry code (section 7.4, and IANA's registry of WebSocket close codes).
func mayClose(code int) bool {
	switch {
	case code >= 1000 && code <= 1014:
		return code != 1004 && code != 1005 && code != 1006
	default:
		return code >= 3000 && code <= 4999
	}
}

// orEOF makes any end of the connection an unexpected one.
func orEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
