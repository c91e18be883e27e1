package holder

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/connect"
)

// Request is what a client asks of a holder.
type Request struct {
	Version string `json:"version"` // of the program; another one makes the holder give way
	Op      op     `json:"op"`

	Services []string `json:"services,omitempty"`
	Share    int      `json:"share,omitempty"` // of an attached client; 0 is any tunnel that has the services

	// For the tunnel that may have to be opened.
	Lifetime time.Duration `json:"lifetime,omitempty"`
	Wait     time.Duration `json:"wait,omitempty"`
	TakeOver bool          `json:"take_over,omitempty"`
	Price    string        `json:"price,omitempty"`
	Away     bool          `json:"away,omitempty"` // wait also for a device that AWS IoT knows to be away

	Persist time.Duration `json:"persist,omitempty"` // how long the holder outlives its last session; 0 keeps the earlier value
	Keep    bool          `json:"keep,omitempty"`    // leave the tunnel open at the end
}

// isConnection reports whether an attached client asks, for a connection over the tunnel that it has.
func (r *Request) isConnection() bool { return r.Op == opConnect && r.Share != 0 }

type op string

const (
	opAttach  op = "attach"  // have a tunnel with the services, for as long as the session lasts
	opConnect op = "connect" // the same, and a connection to the one service
	opStatus  op = "status"
	opClose   op = "close" // end the holder, and close what it opened
)

// answer is a holder's reply to a [Request].
type answer struct {
	Error  *failure `json:"error,omitempty"`
	Tunnel string   `json:"tunnel,omitempty"`
	Share  int      `json:"share,omitempty"` // names the tunnel, whose id may change
	Opened bool     `json:"opened,omitempty"`
	Log    string   `json:"log,omitempty"`
	Status *Status  `json:"status,omitempty"`

	Address string `json:"address,omitempty"` // of the holder's own socket, for connections
}

// Status describes a holder.
type Status struct {
	Thing   string         `json:"thing"`
	PID     int            `json:"pid"`
	Since   time.Time      `json:"since"`
	Log     string         `json:"log"`
	Opened  int            `json:"opened"`          // tunnels that it opened, which AWS charged for
	Price   string         `json:"price,omitempty"` // of one tunnel, from the last command that knew it
	Ends    time.Time      `json:"ends,omitzero"`
	Tunnels []TunnelStatus `json:"tunnels"`

	socket string
}

// TunnelStatus describes a tunnel of a holder.
type TunnelStatus struct {
	ID       string    `json:"id"`
	Opened   bool      `json:"opened"` // by the holder, which closes it
	Services []string  `json:"services"`
	Since    time.Time `json:"since"`
	Expires  time.Time `json:"expires,omitzero"`
	Users    int       `json:"users"` // commands that use it
	BytesIn  int64     `json:"bytes_in"`
	BytesOut int64     `json:"bytes_out"`
}

// failure is an error on its way to another process.
type failure struct {
	Reason int    `json:"reason"` // a connect.Reason, or one of the below
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"`
}

// Reasons that are none of package connect's.
const (
	reasonOther   = -1 // of the control API, or of this machine
	reasonVersion = -2 // the holder is of another version, and gives way
	reasonStopped = -3 // the holder is ending
)

func failureOf(err error) *failure {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return &failure{int(e.Reason), clean.Line(err.Error(), 0), hint.Of(err)}
	}
	err = operator.Explain(err)
	return &failure{reasonOther, err.Error(), hint.Of(err)}
}

func (f *failure) err() error {
	if f == nil {
		return nil
	}
	if f.Reason < 0 {
		return &Error{Text: clean.Line(f.Text, 0), hint: clean.Line(f.Hint, 0)}
	}
	return hint.Wrap(&connect.Error{Reason: connect.Reason(f.Reason), Text: clean.Line(f.Text, 0)}, clean.Line(f.Hint, 0))
}

// Error is a holder's failure that is none of package connect's.
type Error struct {
	Text string // one line

	hint string
}

func (e *Error) Error() string { return e.Text }

// Hint returns what to do about it in one line, or "".
func (e *Error) Hint() string { return e.hint }

// The kinds of frames: a byte, the length of the payload in 4 bytes, and the payload.
const (
	frameRequest = 'r' // a Request
	frameEvent   = 'e' // a connect.Event
	frameAnswer  = 'a' // an answer
	frameData    = 'd' // bytes of the connection
	frameEnd     = 'c' // the end of one direction: a failure, or null in order
)

const (
	headerSize = 5
	maxPayload = 64 << 10
)

// link is one connection to a socket.
type link struct {
	net.Conn

	r  *bufio.Reader
	mu sync.Mutex // for writing
}

func newLink(c net.Conn) *link { return &link{Conn: c, r: bufio.NewReaderSize(c, 4<<10)} }

func (l *link) write(kind byte, payload []byte) error {
	header := [headerSize]byte{kind}
	binary.BigEndian.PutUint32(header[1:], uint32(len(payload))) //nolint:gosec // maxPayload at most
	l.mu.Lock()
	defer l.mu.Unlock()
	buffers := net.Buffers{header[:], payload}
	_, err := buffers.WriteTo(l.Conn)
	return err
}

func (l *link) writeJSON(kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(payload) > maxPayload {
		return fmt.Errorf("a message of %d bytes is too long", len(payload))
	}
	return l.write(kind, payload)
}

// header reads the beginning of a frame.
func (l *link) header() (kind byte, size int, err error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(l.r, h[:]); err != nil {
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n > maxPayload {
		return 0, 0, fmt.Errorf("a frame of %d bytes is too long", n)
	}
	return h[0], int(n), nil
}

// decode reads a payload of size bytes into v.
func (l *link) decode(size int, v any) error {
	payload := make([]byte, size)
	if _, err := io.ReadFull(l.r, payload); err != nil {
		return err
	}
	return json.Unmarshal(payload, v)
}

// expect reads a frame of the given kind.
func (l *link) expect(want byte, v any) error {
	kind, size, err := l.header()
	if err != nil {
		return err
	}
	if kind != want {
		return fmt.Errorf("frame %q came, and %q was expected", kind, want)
	}
	return l.decode(size, v)
}

// stream is the bytes of a connection to a service, in frames. It is a net.Conn with a CloseWrite.
type stream struct {
	*link

	left  int   // of the frame that is being read
	ended error // why nothing more is to be read
	event func(connect.Event)
	gone  func() error // what an end without a word means
}

// Read returns io.EOF after an orderly end only, as [connect.Tunnel.Dial] has it.
func (s *stream) Read(p []byte) (int, error) {
	for s.ended == nil && s.left == 0 {
		s.ended = s.next()
	}
	if s.ended != nil {
		return 0, s.ended
	}
	n, err := s.r.Read(p[:min(len(p), s.left)])
	s.left -= n
	if err != nil {
		s.ended = s.gone()
		err = s.ended
	}
	return n, err
}

// next reads up to the bytes of the next frame that has some.
func (s *stream) next() error {
	kind, size, err := s.header()
	if err != nil {
		return s.gone()
	}
	switch kind {
	case frameData:
		s.left = size
		return nil
	case frameEvent:
		var e connect.Event
		if err := s.decode(size, &e); err != nil {
			return s.gone()
		}
		s.event(e)
		return nil
	case frameEnd:
		var f *failure
		if err := s.decode(size, &f); err != nil {
			return s.gone()
		}
		if f == nil {
			return io.EOF
		}
		return f.err()
	}
	return s.gone()
}

func (s *stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), maxPayload)]
		if err := s.write(frameData, part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

// CloseWrite says that nothing more will be written.
func (s *stream) CloseWrite() error { return s.end(nil) }

func (s *stream) end(err error) error { return s.writeJSON(frameEnd, failureOf(err)) }
