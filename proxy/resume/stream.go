package resume

import (
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// InitialCredit is what each side may send before the other grants more, in bytes.
	InitialCredit = 64 << 10
	// maxWindow bounds the credit that is open at a time, and what is kept for replay, in bytes: what the fastest link
	// carries in a few milliseconds, in which a busy machine may let either end wait for a processor.
	maxWindow = 4 << 20
	// sliver is the least that is worth a record while memory is short, in bytes.
	sliver = 16 << 10
	// plainKept bounds what is kept before it is known whether the far end speaks records, in bytes, once more than
	// Memory's share has gone out: probably it does not.
	plainKept = 256 << 10
	// creditFraction of the window, once received or taken, is worth a CREDIT at once.
	creditFraction = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// phase is the form of one direction on the present transport.
type phase uint8

const (
	detached phase = iota
	plain          // bytes as they are
	resuming       // source: ATTACHED, UNOPENED or GONE comes next, and nothing may be sent
	records
)

// Stream is one connection's byte stream. Its owner guards it.
type Stream struct {
	id     ID
	memory *Memory
	in     phase
	out    phase
	due    due
	open   opening

	replay   buffer // bytes kept..sent
	kept     uint64
	acked    uint64 // the far end has received so many
	sent     uint64 // so many came from the application
	next     uint64 // the next to go out on this transport
	limit    uint64 // the far end lets us send so many
	sentSum  uint32
	ended    bool // the application's input has ended
	endSent  bool // on this transport
	endAcked bool
	keeps    bool // the destination keeps connections whose transport is lost
	probed   bool // PING was sent and not answered

	received uint64
	taken    uint64 // the application took so many
	granted  uint64 // so many may come
	told     uint64 // received, as the far end was told last
	window   int
	sum      uint32
	starved  bool // the far end has more than its credit
	farEnded bool

	closed  bool
	reason  Reason
	farGone bool // the far end has ended the connection
}

// due says which records other than BYTES are to be sent. They go in this order.
type due struct{ hello, mark, open, resume, attached, credit, ping bool }

// New returns a Stream that is not attached. It counts what it keeps in m.
func New(m *Memory) *Stream {
	return &Stream{memory: m, replay: buffer{mem: m}, limit: InitialCredit, granted: InitialCredit, window: InitialCredit}
}

// ID names the connection. It is zero until the destination has named it.
func (s *Stream) ID() ID { return s.id }

// Plain reports whether this transport carries the application's bytes as they are, without credit.
func (s *Stream) Plain() bool { return s.in == plain }

// Untaken is how many of the bytes received the application has not taken.
func (s *Stream) Untaken() uint64 { return s.received - s.taken }

// Keeps reports whether the destination keeps the connection when its transport is lost, as its HELLO said.
func (s *Stream) Keeps() bool { return s.keeps }

// Attached reports whether there is a transport and records may be sent.
func (s *Stream) Attached() bool { return s.out == records && s.in == records }

// Waiting reports whether a source still waits for the answer to OPEN or RESUME.
func (s *Stream) Waiting() bool { return s.in == resuming || s.in == records && s.open.unanswered }

// Speaks reports whether both ends may know the connection's identity, so that it can be resumed.
func (s *Stream) Speaks() bool { return s.id != ID{} }

// Closed returns why the far end ended the connection, if it did: other than in order.
func (s *Stream) Closed() (Reason, bool) { return s.reason, s.closed }

// FarEnded reports whether the far end's input has ended, and all of it was received.
func (s *Stream) FarEnded() bool { return s.farEnded }

// Ended reports whether End was called.
func (s *Stream) Ended() bool { return s.ended }

// Finished reports whether both directions have ended in order and both ends know it.
func (s *Stream) Finished() bool { return s.farEnded && s.endAcked }

// Unconfirmed reports whether the far end owes a confirmation of what was sent, or an answer to a PING.
func (s *Stream) Unconfirmed() bool {
	return s.out == records && (s.probed || s.acked < s.next || s.endSent && !s.endAcked)
}

// Confirmed is how many bytes the far end has received, the end of input counted as one more.
func (s *Stream) Confirmed() uint64 {
	if s.endAcked {
		return s.sent + 1
	}
	return s.acked
}

// EndConfirmed reports whether the far end has received all, the end of input included.
func (s *Stream) EndConfirmed() bool { return s.endAcked }

// Release gives all memory back. The Stream is of no more use.
func (s *Stream) Release() {
	s.replay.clear()
	s.memory.unpromise(s.window - InitialCredit)
	s.window = InitialCredit
	s.Detach()
}

// Error is a violation of the rules by the far end, or bytes that do not match. The connection is over.
type Error struct {
	Reason Reason
	Text   string
}

// Error says what was wrong.
func (e *Error) Error() string { return e.Text }

func violation(format string, a ...any) error {
	return &Error{Reason: Protocol, Text: fmt.Sprintf(format, a...)}
}

// ReasonOf returns the reason that an error of this package carries.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Protocol
}
