package resume

import "hash/crc32"

// Pending reports whether Next has something to send, or Room is more than none and the application's bytes
// may follow.
func (s *Stream) Pending() bool {
	switch s.out {
	case records:
		return s.due != due{} || s.repeats() > 0 || s.ended && !s.endSent && s.next == s.sent
	case resuming:
		return s.due.resume || s.due.open
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
	case d.resume:
		d.resume = false
		r = s.position(Resume)
	case d.open:
		d.open = false
		r = Record{Type: Open, ID: s.id, At: s.open.at, Limit: s.grant()}
		s.granted = r.Limit
		if s.open.at.Instance != (Instance{}) {
			s.open.sent++
		}
	case s.out != records:
		return buf, false
	case d.hello:
		d.hello = false
		r = Record{Type: Hello, Version: Version, ID: s.id, At: s.open.at, Limit: s.grant()}
		if s.keeps {
			r.Capabilities = Keeps
		}
		s.granted = r.Limit
	case d.mark:
		d.mark = false
		return buf, true
	case d.attached:
		d.attached = false
		r = s.position(Attached)
	case d.credit:
		d.credit = false
		r = s.position(Credit)
	case d.ping:
		d.ping, s.probed = false, true
		r = Record{Type: Ping}
	case s.repeats() > 0:
		return s.again(buf), true
	case s.ended && !s.endSent && s.next == s.sent:
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
	return Record{Type: t, ID: s.id, Received: s.told, Sum: s.sum, Limit: s.granted, At: s.open.at}
}

// repeats is how many bytes that a transport has lost may be sent again. What went out in plain form may have been more
// than the far end's credit.
func (s *Stream) repeats() uint64 {
	most := min(s.sent, s.limit)
	return most - min(most, s.next)
}

// again repeats bytes that a transport has lost.
func (s *Stream) again(buf []byte) []byte {
	at := len(buf)
	room := min(uint64(cap(buf)-at-1), s.repeats())                    //nolint:gosec // never negative
	n := s.replay.copyAt(int(s.next-s.kept), buf[at+1:at+1+int(room)]) //nolint:gosec // bounded by the replay
	s.next += uint64(n)                                                //nolint:gosec // never negative
	buf = buf[:at+1+n]
	buf[at] = s.bytesType(s.next)
	return buf
}

// bytesType is the type of a record of bytes up to end. BytesFull says that there is no more credit.
func (s *Stream) bytesType(end uint64) byte {
	if end == s.limit {
		return byte(BytesFull)
	}
	return byte(Bytes)
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
	share := s.memory.share()
	room := share - s.replay.size
	if room < min(sliver, share/2) {
		return 0 // a confirmation gives some back
	}
	return int(min(s.limit-s.sent, uint64(room))) //nolint:gosec // bounded by the memory
}

// Sum is the checksum of the direction with p behind what was sent. It needs no lock as long as nothing else is sent
// meanwhile: it takes as long as copying p does.
func (s *Stream) Sum(p []byte) uint32 { return crc32.Update(s.sentSum, castagnoli, p) }

// Fill notes that p goes out as new bytes; head is where its record's type is to stand, nil in plain form, and sum what
// Sum says.
func (s *Stream) Fill(head []byte, p []byte, sum uint32) {
	s.Push(p, sum)
	s.filled(head)
}

// FillBlock is Fill for bytes that c holds. It keeps c for as long as they may be needed.
func (s *Stream) FillBlock(c *Block, head []byte, p []byte, sum uint32) {
	if s.out == plain || !s.replay.keep(c, p) {
		s.Fill(head, p, sum)
		return
	}
	s.sentSum = sum
	s.sent += uint64(len(p))
	s.filled(head)
}

// filled ends a record of new bytes. The far end confirms a part of its window at a time. Where there is memory for less
// than that here, it is asked.
func (s *Stream) filled(head []byte) {
	s.next = s.sent
	confirms := s.sent-s.acked >= maxWindow/creditFraction
	if s.out == records && !confirms && !s.probed && s.limit > s.sent && s.Room() == 0 {
		s.due.ping = true
	}
	if len(head) > 0 {
		head[0] = s.bytesType(s.sent)
	}
}

// Push keeps new bytes that cannot go out now. They are sent after the next Resume.
func (s *Stream) Push(p []byte, sum uint32) {
	s.sentSum = sum
	s.sent += uint64(len(p))
	if s.out != plain {
		s.replay.put(p, true) // within Room
		return
	}
	most := s.memory.share()
	if s.kept > 0 {
		most = min(most, plainKept)
	}
	if s.replay.size+len(p) > most || !s.replay.put(p, false) {
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
