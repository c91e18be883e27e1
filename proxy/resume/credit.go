package resume

// credit acts on a CREDIT, or on another record that confirms bytes and grants more.
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

// OwesCredit reports whether there is news for a CREDIT that can wait a little.
func (s *Stream) OwesCredit() bool {
	return s.seen() > s.told || s.grant() > s.granted
}

// SendCredit makes a CREDIT due, if there is news for one.
func (s *Stream) SendCredit() { s.due.credit = s.due.credit || s.OwesCredit() }

// Probe makes a PING due: the far end answers at once with a CREDIT.
func (s *Stream) Probe() { s.due.ping = true }
