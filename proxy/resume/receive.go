package resume

import "hash/crc32"

// Receive processes one message of the transport. It returns the application's bytes in it, which alias p. On an error,
// always an *Error, the connection is over.
func (s *Stream) Receive(p []byte) ([]byte, error) {
	switch {
	case s.closed || s.open.misled:
		return nil, nil
	case s.in == plain && len(p) == 0: // the mark
		s.in, s.open.known, s.due.credit = records, true, true
		return nil, nil
	case s.in == plain:
		s.count(p)
		return p, nil
	}
	var r Record
	if err := r.Parse(p); err != nil {
		return nil, violation("%v", err)
	}
	switch {
	case r.Type&Skippable != 0:
		return nil, nil
	case r.Type == Close:
		return nil, s.close(&r)
	case s.Waiting():
		return nil, s.answered(&r)
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

func (s *Stream) end(r *Record) error {
	if r.Total != s.received || r.Sum != s.sum {
		return violation("end of input at %d bytes with another checksum or length than the %d received", r.Total, s.received)
	}
	s.farEnded, s.due.credit = true, true
	return nil
}

func (s *Stream) close(r *Record) error {
	s.farGone = true
	if r.Type == Close && r.Reason == Done {
		if !s.farEnded || !s.ended || !s.endSent && s.in != resuming {
			return violation("closed before both directions had ended")
		}
		s.confirm(s.sent + 1)
		return nil
	}
	if r.Type == Gone && r.Reason == Done {
		// The far end has finished with the connection and forgotten it, so it had everything. If this end has, too,
		// the end is orderly.
		if s.ended && s.farEnded {
			s.confirm(s.sent + 1)
			return nil
		}
		r.Reason = Unknown
	}
	s.closed, s.reason = true, r.Reason
	return nil
}
