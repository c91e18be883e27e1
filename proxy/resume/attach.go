package resume

import "hash/crc32"

// maxMoves is how many processes in turn a source asks to open a connection.
const maxMoves = 5

// opening is a Stream's knowledge of its beginning.
type opening struct {
	at         Address // source: whom OPEN is for; destination: this process
	unanswered bool    // source: the destination has not answered OPEN yet
	sent       int     // source: how often OPEN was sent to this address
	misled     bool    // source: OPEN came to another process, which has opened nothing
	moves      int     // source: how often OPEN came to another process
	known      bool    // destination: the source has the identity for certain
}

// Negotiate attaches a source whose far end may not speak records. It sends plain bytes until Answer says so.
func (s *Stream) Negotiate() { s.in, s.out = plain, plain }

// Answer processes the first message of the far end and reports whether it was a HELLO. If not, the connection stays
// plain, and no longer needs the Stream.
func (s *Stream) Answer(p []byte) bool {
	var r Record
	if r.Parse(p) != nil || r.Type != Hello || r.Version == 0 || r.ID == (ID{}) {
		return false
	}
	s.id, s.open.at = r.ID, r.At
	s.in, s.out, s.due.mark = records, records, true
	s.limit, s.keeps = max(s.limit, r.Limit), r.Capabilities&Keeps != 0
	return true
}

// Hello attaches a destination to a source that may speak records. It gives the connection its identity; at is this
// process. Plain bytes come until the mark, an empty message. keeps says whether the connection outlives its transport.
func (s *Stream) Hello(id ID, at Address, keeps bool) {
	s.id, s.open.at = id, at
	s.in, s.out, s.due.hello, s.keeps = plain, records, true, keeps
}

// Greets reports whether a destination has yet to send HELLO, or a source the mark. Next says it; before it no other record
// may go out, since it would pass for bytes of the application.
func (s *Stream) Greets() bool { return s.due.hello || s.due.mark }

// Known reports whether the source of a destination's connection is known to have its identity.
func (s *Stream) Known() bool { return s.open.known }

// Open attaches a source whose far end speaks records. at is the far end's present process. If that is unknown, at is
// zero: no process acts on such an OPEN, and the present one answers with its name.
func (s *Stream) Open(id ID, at Address) {
	s.id, s.open = id, opening{at: at, unanswered: true}
	s.in, s.out, s.due.open = records, records, true
	if at.Instance == (Instance{}) {
		s.in, s.out = resuming, resuming // bytes would be lost
	}
}

// Resume attaches a source anew. It sends nothing else until the far end has said how much it has received. It repeats
// an unanswered OPEN, which opens the connection if the first one never arrived.
func (s *Stream) Resume() {
	s.Detach()
	s.in, s.out = resuming, resuming
	s.due.open, s.due.resume = s.open.unanswered, !s.open.unanswered
}

// Unanswered reports whether a source does not know yet that its OPEN has arrived.
func (s *Stream) Unanswered() bool { return s.open.unanswered }

// Misled reports whether a source's OPEN came to another process than the one that it was for. Nothing was opened:
// Resume asks the other process.
func (s *Stream) Misled() bool { return s.open.misled }

// At is what the source knows of the destination's process since the last answer; false before there was one.
func (s *Stream) At() (Address, bool) { return s.open.at, !s.open.unanswered }

// Accept attaches a destination: r is the OPEN of a new connection, or the OPEN or RESUME of this one; at is this process.
// On an error the connection is over.
func (s *Stream) Accept(r *Record, at Address) error {
	s.Detach()
	s.open.at, s.open.known = at, true
	if r.Type == Open && !s.Speaks() {
		s.id, s.in, s.out = r.ID, records, records
		s.limit = max(s.limit, r.Limit)
	} else if err := s.goOn(r); err != nil {
		return err
	}
	s.due.attached = true
	return nil
}

// Overtaken reports whether the far end has said more since it wrote r, an OPEN or a RESUME: another transport was faster.
func (s *Stream) Overtaken(r *Record) bool { return r.Received < s.Confirmed() || r.Limit < s.limit }

// Detach ends the use of the present transport, which may have lost any of what was sent.
func (s *Stream) Detach() {
	s.in, s.out, s.due, s.endSent, s.probed = detached, detached, due{}, false, false
	s.open.misled = false
}

// goOn continues behind the bytes that the far end has received: r is its OPEN, RESUME or ATTACHED.
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

// confirm records how many bytes the far end has received, the end of input counted as one more.
func (s *Stream) confirm(received uint64) {
	s.acked = min(received, s.sent)
	s.endAcked = received > s.sent
	if s.acked > s.kept {
		s.replay.drop(int(s.acked - s.kept)) //nolint:gosec // bounded by the replay
		s.kept = s.acked
	}
}

// answered acts on the destination's answer to OPEN or RESUME.
func (s *Stream) answered(r *Record) error {
	opened := s.open.unanswered
	switch r.Type {
	case Attached:
		s.open.unanswered, s.open.at = false, r.At
		if s.in == resuming {
			return s.goOn(r)
		}
		return s.credit(r)
	case Unopened:
		switch {
		case !opened:
			return violation("record of type %d out of order", r.Type)
		case s.open.sent <= 1 && s.open.moves < maxMoves: // the only OPEN so far has opened nothing
			s.open.misled, s.open.at, s.open.sent = true, r.At, 0
			s.open.moves++ // a few at most, whatever the far end says
		default: // an earlier OPEN may have opened it
			s.closed, s.reason = true, Unknown
		}
		return nil
	case Gone:
		if r.Reason == LimitHit && !opened {
			return nil // the reset that follows detaches it; there may be room later
		}
		return s.close(r)
	default:
		return violation("record of type %d out of order", r.Type)
	}
}
