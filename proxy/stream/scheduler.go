package stream

// scheduler decides which connection sends next. It knows no tunnel: the sender asks it for a turn and
// hands back a connection that has more. It is guarded by its owner's lock.
//
// The order is that of FQ-CoDel (RFC 8290, section 4), a deficit round robin in bytes (Shreedhar and
// Varghese, SIGCOMM 1995) with two queues. Connections that were silent go first, all others take turns
// of a quantum. That keeps typing quick beside bulk without knowing either. A connection goes first only
// until it has used its quantum of this rotation, which is one turn of each connection in the bulk
// queue: one that falls silent again and again and yet sends a lot takes its turns with bulk.
// (RFC 8290 reaches the same by leaving an empty queue in the list of old ones.)
type scheduler struct {
	fresh, bulk queue
	bulkDue     bool   // the bulk queue has the next turn
	message     uint64 // counts the messages begun, so that data never overtakes its start
	rotation    uint64 // counts how often the bulk queue went around
	quantum     int    // what each may send in a rotation, in bytes
}

// member is a connection's place in the scheduler.
type member struct {
	conn     *connection
	overhead int    // what its frames need besides the payload, at most, in bytes
	born     uint64 // the message in which it began

	queue      *queue // nil while it is silent or served
	prev, next *member

	quota
}

// quota is what a connection has had of the tunnel lately.
type quota struct {
	credit  int    // bytes that it may still send ahead of bulk
	granted uint64 // the rotation that the credit is of, plus one; 0: none yet
	turn    uint64 // in the bulk queue: the rotation in which its turn comes
}

// queue is a first-in first-out list of connections that have something to send. A connection that ends
// leaves it at once, so its length is the work that is left.
type queue struct {
	head, tail *member
	n          int
}

func (q *queue) push(p *member) {
	p.queue, p.prev, p.next = q, q.tail, nil
	if q.tail == nil {
		q.head = p
	} else {
		q.tail.next = p
	}
	q.tail = p
	q.n++
}

// unlink takes p out of the queue that it is in, if any.
func (p *member) unlink() {
	q := p.queue
	if q == nil {
		return
	}
	if p.prev == nil {
		q.head = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		q.tail = p.prev
	} else {
		p.next.prev = p.prev
	}
	q.n--
	p.queue, p.prev, p.next = nil, nil, nil
}

// waiting is the number of connections that have something to send.
func (s *scheduler) waiting() int { return s.fresh.n + s.bulk.n }

// ready queues a connection that was silent and has something to send.
func (s *scheduler) ready(p *member) {
	s.grant(p)
	if p.credit > 0 {
		s.fresh.push(p)
	} else {
		s.again(p)
	}
}

// again queues a connection that has more to send after its turn: its next one is in the next rotation.
func (s *scheduler) again(p *member) {
	p.turn = s.rotation + 1
	s.bulk.push(p)
}

// grant gives a connection its credit for this rotation, once.
func (s *scheduler) grant(p *member) {
	if p.granted != s.rotation+1 {
		p.granted, p.credit = s.rotation+1, s.quantum
	}
}

// plan begins a message of about piece bytes. It returns how many turns there are, and the most that one
// may send. Without room in the window only connections that were silent send, and little.
func (s *scheduler) plan(piece, room int) (turns, limit int) {
	s.quantum = min(max(piece/2, sparse), turn)
	turns, limit = s.waiting(), min(max(piece, sparse), maxTurn)
	if turns > 1 {
		limit = s.quantum
	}
	if room <= 0 {
		limit = min(limit, sparse)
	}
	return turns, limit
}

// next takes the connection whose turn it is out of its queue. It returns how many bytes that may send,
// and whether it was silent before, or nil when none is ready or room, what is left of the message, is
// too little. A connection of the bulk queue gets a whole turn or none: what it missed now it has in the
// next message. A connection that began while this message was being filled waits too: its start goes
// out with the next one. full says that the window has no room for bulk.
func (s *scheduler) next(room, limit int, full bool) (p *member, n int, fresh bool) {
	if p = s.bulk.head; p != nil && !full && (s.bulkDue || s.fresh.n == 0) && room-p.overhead >= limit {
		s.bulkDue = false
		s.rotation = max(s.rotation, p.turn)
		s.grant(p)
		p.unlink()
		return p, limit, false
	}
	if p = s.fresh.head; p != nil && p.born != s.message && room-p.overhead >= minTurn {
		p.unlink()
		return p, min(limit, room-p.overhead), true
	}
	return nil, 0, false
}
