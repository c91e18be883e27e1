package resume

import (
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// InitialCredit is what each side may send before the other grants more, in bytes.
	InitialCredit = 64 << 10
	// maxWindow bounds the credit that is open at a time, and what is kept for replay, in bytes.
	maxWindow = 1 << 20
	// plainKept bounds what is kept before it is known whether the far end speaks records, in bytes.
	plainKept = 256 << 10
	// CreditFraction of the window, once received or taken, is worth a CREDIT at once.
	creditFraction = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// phase is the form of one direction on the present transport.
type phase uint8

const (
	detached phase = iota
	plain          // bytes as they are
	opening        // destination: OPEN comes next
	resuming       // source: RESUMED or GONE comes next, and nothing may be sent
	records
)

// Stream is one connection's byte stream. Its owner guards it.
type Stream struct {
	id     ID
	memory *Memory
	in     phase
	out    phase
	due    due

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

	closed bool
	reason Reason
}

// due says which records other than BYTES are to be sent. They go in this order.
type due struct{ hello, mark, open, resume, resumed, credit, ping bool }

// New returns a Stream that is not attached. It counts what it keeps in m.
func New(m *Memory) *Stream {
	return &Stream{memory: m, replay: buffer{mem: m}, limit: InitialCredit, granted: InitialCredit, window: InitialCredit}
}

// ID names the connection. It is zero as long as the source has not said it.
func (s *Stream) ID() ID { return s.id }

// Negotiate attaches a source whose far end may not speak records. It sends plain bytes until Answer says so.
func (s *Stream) Negotiate(id ID) { s.id, s.in, s.out = id, plain, plain }

// Answer looks at the first message of the far end and reports whether it was a HELLO. If not, the
// connection stays plain, and the Stream is of no more use.
func (s *Stream) Answer(p []byte) bool {
	var r Record
	if r.Parse(p) != nil || r.Type != Hello || r.Version == 0 {
		return false
	}
	s.in, s.out, s.due.mark, s.due.open = records, records, true, true
	s.limit, s.keeps = max(s.limit, r.Limit), r.Capabilities&Keeps != 0
	return true
}

// Hello attaches a destination to a source that may speak records. Plain bytes come until the mark, an empty
// message. keeps says whether the connection is kept when its transport is lost.
func (s *Stream) Hello(keeps bool) { s.in, s.out, s.due.hello, s.keeps = plain, records, true, keeps }

// Plain reports whether what comes on this transport is the application's bytes as they are, for which there is no
// credit yet.
func (s *Stream) Plain() bool { return s.in == plain }

// Untaken is how many of the bytes received the application has not taken.
func (s *Stream) Untaken() uint64 { return s.received - s.taken }

// Keeps reports whether the destination keeps the connection when its transport is lost, as its HELLO said.
func (s *Stream) Keeps() bool { return s.keeps }

// Open attaches a source whose far end speaks records.
func (s *Stream) Open(id ID) { s.id, s.in, s.out, s.due.open = id, records, records, true }

// Resume attaches a source anew. It sends nothing else until the far end has said where it stands.
func (s *Stream) Resume() {
	s.Detach()
	s.in, s.out, s.due.resume = resuming, resuming, true
}

// Accept attaches a destination: r is the OPEN of a new connection, or the RESUME of this one. On an error
// the connection is over.
func (s *Stream) Accept(r *Record) error {
	s.Detach()
	if r.Type == Open {
		s.id, s.in, s.out = r.ID, records, records
		s.limit, s.due.credit = max(s.limit, r.Limit), true
		return nil
	}
	if err := s.goOn(r); err != nil {
		return err
	}
	s.due.resumed = true
	return nil
}

// Detach ends the use of the present transport, which may have lost any of what was sent.
func (s *Stream) Detach() {
	s.in, s.out, s.due, s.endSent, s.probed = detached, detached, due{}, false, false
}

// Attached reports whether there is a transport and records may be sent.
func (s *Stream) Attached() bool { return s.out == records && s.in == records }

// Speaks reports whether both ends are known to speak records, so that the connection can be resumed.
func (s *Stream) Speaks() bool { return s.id != ID{} && s.in != plain }

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

// goOn continues where the far end stands: r is its RESUME or RESUMED.
func (s *Stream) goOn(r *Record) error {
	off := r.Received
	end := s.ended && off == s.sent+1
	if end {
		off--
	}
	switch {
	case off > s.sent:
		return violation("the far end received %d bytes of %d", off, s.sent)
	case off < s.acked || s.endAcked && !end:
		return violation("the far end received %d bytes and had confirmed %d", off, s.acked)
	case r.Limit < s.limit:
		return violation("credit was taken back")
	case off < s.kept:
		return &Error{Reason: Unknown, Text: "what the far end lacks was not kept"}
	}
	sum := r.Sum
	s.replay.each(int(off-s.kept), func(p []byte) bool { //nolint:gosec // bounded by the replay
		sum = crc32.Update(sum, castagnoli, p)
		return true
	})
	if sum != s.sentSum {
		return violation("the checksum of %d bytes that the far end received is wrong", off)
	}
	s.in, s.out, s.limit, s.next, s.endSent = records, records, r.Limit, off, end
	s.confirm(r.Received)
	return nil
}

// confirm notes that the far end has received so many, the end of input counted as one more.
func (s *Stream) confirm(received uint64) {
	s.acked = min(received, s.sent)
	s.endAcked = received > s.sent
	if s.acked > s.kept {
		s.replay.drop(int(s.acked - s.kept)) //nolint:gosec // bounded by the replay
		s.kept = s.acked
	}
}

// Receive acts on one message of the transport. It returns the application's bytes in it, which alias p. On an
// error, always an *Error, the connection is over.
func (s *Stream) Receive(p []byte) ([]byte, error) {
	switch {
	case s.closed:
		return nil, nil
	case s.in == plain && len(p) == 0:
		s.in = opening // the mark
		return nil, nil
	case s.in == plain:
		s.count(p)
		return p, nil
	}
	var r Record
	if err := r.Parse(p); err != nil {
		return nil, violation("%v", err)
	}
	if r.Type&Skippable != 0 {
		return nil, nil
	}
	switch {
	case r.Type == Close, r.Type == Gone && s.in == resuming:
		return nil, s.close(&r)
	case s.in == opening && r.Type == Open:
		s.id, s.in = r.ID, records
		s.limit, s.due.credit = max(s.limit, r.Limit), true
		return nil, nil
	case s.in == resuming && r.Type == Resumed:
		return nil, s.goOn(&r)
	case s.in != records:
		return nil, violation("record of type %d out of order", r.Type)
	}
	switch r.Type {
	case Bytes, BytesFull:
		return s.bytes(&r)
	case Credit:
		return nil, s.credit(&r)
	case End:
		return nil, s.end(&r)
	case Ping:
		s.due.credit = true
		return nil, nil
	default:
		return nil, violation("record of type %d out of order", r.Type)
	}
}

func (s *Stream) count(p []byte) {
	s.received += uint64(len(p))
	s.sum = crc32.Update(s.sum, castagnoli, p)
}

func (s *Stream) bytes(r *Record) ([]byte, error) {
	switch n := uint64(len(r.Data)); {
	case s.farEnded:
		return nil, violation("bytes after the end of input")
	case s.received+n > s.granted:
		return nil, violation("%d bytes beyond the credit", s.received+n-s.granted)
	}
	s.count(r.Data)
	s.starved = s.starved || r.Type == BytesFull
	s.considerCredit()
	return r.Data, nil
}

func (s *Stream) credit(r *Record) error {
	switch {
	case r.Received < s.acked || s.endAcked && r.Received <= s.sent:
		return violation("%d bytes confirmed after %d", r.Received, s.acked)
	case r.Received > s.next && (!s.endSent || r.Received != s.sent+1):
		return violation("%d bytes confirmed, %d sent", r.Received, s.next)
	case r.Limit < s.limit:
		return violation("credit was taken back")
	}
	s.limit, s.probed = r.Limit, false
	s.confirm(r.Received)
	return nil
}

func (s *Stream) end(r *Record) error {
	if r.Total != s.received || r.Sum != s.sum {
		return violation("end of input at %d bytes with another checksum or length than the %d received", r.Total, s.received)
	}
	s.farEnded, s.due.credit = true, true
	return nil
}

func (s *Stream) close(r *Record) error {
	if r.Type == Close && r.Reason == Done {
		if !s.farEnded || !s.ended || !s.endSent && s.in != resuming {
			return violation("closed before both directions had ended")
		}
		s.confirm(s.sent + 1)
		return nil
	}
	if r.Type == Gone && r.Reason == Done {
		// The far end has finished and forgotten the connection. It had everything; if we have, too, all is well.
		if s.ended && s.farEnded {
			s.confirm(s.sent + 1)
			return nil
		}
		r.Reason = Unknown
	}
	s.closed, s.reason = true, r.Reason
	return nil
}

// Closed returns why the far end ended the connection, if it did: other than in order.
func (s *Stream) Closed() (Reason, bool) { return s.reason, s.closed }

// FarEnded reports whether the far end's input has ended, and all of it was received.
func (s *Stream) FarEnded() bool { return s.farEnded }

// Ended reports whether End was called.
func (s *Stream) Ended() bool { return s.ended }

// Finished reports whether both directions have ended in order and both ends know it.
func (s *Stream) Finished() bool { return s.farEnded && s.endAcked }

// Took notes that the application took n bytes.
func (s *Stream) Took(n int) {
	s.taken += uint64(n)                                       //nolint:gosec // never negative
	if s.starved && s.received-s.taken <= uint64(s.window)/2 { //nolint:gosec // never negative
		s.starved = false
		if n := min(s.window, maxWindow-s.window); n > 0 && s.memory.promise(n) {
			s.window += n
			s.due.credit = true
		}
	}
	s.considerCredit()
}

// seen is received, the end of input counted as one more.
func (s *Stream) seen() uint64 {
	if s.farEnded {
		return s.received + 1
	}
	return s.received
}

func (s *Stream) grant() uint64 { return max(s.granted, s.taken+uint64(s.window)) } //nolint:gosec // never negative

func (s *Stream) considerCredit() {
	step := uint64(s.window / creditFraction) //nolint:gosec // never negative
	if s.seen()-s.told >= step || s.grant()-s.granted >= step {
		s.due.credit = true
	}
}

// OwesCredit reports whether there is something to tell with a CREDIT which can wait a little.
func (s *Stream) OwesCredit() bool {
	return s.seen() > s.told || s.grant() > s.granted
}

// SendCredit makes a CREDIT due, if there is something to tell.
func (s *Stream) SendCredit() { s.due.credit = s.due.credit || s.OwesCredit() }

// Probe makes a PING due: the far end answers at once with a CREDIT.
func (s *Stream) Probe() { s.due.ping = true }

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

// Pending reports whether Next has something to send, or Room is more than none and the application's bytes
// may follow.
func (s *Stream) Pending() bool {
	switch s.out {
	case records:
		return s.due != due{} || s.next < s.sent || s.ended && !s.endSent
	case resuming:
		return s.due.resume
	default:
		return false
	}
}

// Next appends the next record to buf, within its capacity, and reports whether there was one: all that is due but
// new bytes. The mark is an empty record.
func (s *Stream) Next(buf []byte) ([]byte, bool) {
	d := &s.due
	var r Record
	switch {
	case s.out == resuming && d.resume:
		d.resume = false
		r = s.position(Resume)
	case s.out != records:
		return buf, false
	case d.hello:
		d.hello = false
		r = Record{Type: Hello, Version: Version, Limit: s.grant()}
		if s.keeps {
			r.Capabilities = Keeps
		}
		s.granted = r.Limit
	case d.mark:
		d.mark = false
		return buf, true
	case d.open:
		d.open = false
		r = Record{Type: Open, ID: s.id, Limit: s.grant()}
		s.granted = r.Limit
	case d.resumed:
		d.resumed = false
		r = s.position(Resumed)
	case d.credit:
		d.credit = false
		r = s.position(Credit)
	case d.ping:
		d.ping, s.probed = false, true
		r = Record{Type: Ping}
	case s.next < s.sent:
		return s.again(buf), true
	case s.ended && !s.endSent:
		s.endSent = true
		r = Record{Type: End, Total: s.sent, Sum: s.sentSum}
	default:
		return buf, false
	}
	return r.Append(buf), true
}

// position is a record that says what was received and grants credit.
func (s *Stream) position(t Type) Record {
	s.granted, s.told = s.grant(), s.seen()
	s.due.credit = false
	return Record{Type: t, ID: s.id, Received: s.told, Sum: s.sum, Limit: s.granted}
}

// again sends bytes that a transport has lost.
func (s *Stream) again(buf []byte) []byte {
	at := len(buf)
	room := cap(buf) - at - 1
	n := s.replay.copyAt(int(s.next-s.kept), buf[at+1:at+1+room]) //nolint:gosec // bounded by the replay
	s.next += uint64(n)                                           //nolint:gosec // never negative
	buf = buf[:at+1+n]
	buf[at] = byte(Bytes)
	return buf
}

// Head is how many bytes Fill needs before new bytes: 0 while they go out plain.
func (s *Stream) Head() int {
	if s.out == plain {
		return 0
	}
	return 1
}

// Room is how many new bytes may be sent.
func (s *Stream) Room() int {
	switch {
	case s.ended:
		return 0
	case s.out == plain:
		return maxWindow
	case s.out != records || s.next < s.sent || s.limit <= s.sent:
		return 0
	}
	credit := int(min(s.limit-s.sent, maxWindow))
	return max(min(credit, s.memory.share()-s.replay.size), 0)
}

// Fill notes that p goes out as new bytes; head is where its record's type is to stand, nil in plain form.
func (s *Stream) Fill(head []byte, p []byte) {
	s.Push(p)
	s.next = s.sent
	if len(head) > 0 {
		head[0] = byte(Bytes)
		if s.sent == s.limit {
			head[0] = byte(BytesFull)
		}
	}
}

// Push keeps new bytes that cannot go out now. They are sent after the next Resume.
func (s *Stream) Push(p []byte) {
	s.sentSum = crc32.Update(s.sentSum, castagnoli, p)
	s.sent += uint64(len(p))
	if s.out != plain {
		s.replay.put(p, true) // within Room
		return
	}
	if s.replay.size+len(p) > plainKept || !s.replay.put(p, false) {
		s.Forget()
	}
}

// Forget drops what is kept for replay: the connection cannot be resumed unless the far end confirms it.
func (s *Stream) Forget() {
	s.replay.clear()
	s.kept = s.sent
}

// End notes the end of the application's input.
func (s *Stream) End() { s.ended = true }

// Release gives all memory back. The Stream is of no more use.
func (s *Stream) Release() {
	s.replay.clear()
	s.memory.unpromise(s.window - InitialCredit)
	s.window = InitialCredit
	s.Detach()
}

// Waiting reports whether a source still waits for the answer to Resume.
func (s *Stream) Waiting() bool { return s.in == resuming }

// ReasonOf returns the reason that an error of this package carries.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Protocol
}
