package stream

import "github.com/culvert-iot/culvert/proxy/frame"

// queue is a first-in first-out list of connections that have something to send. A connection that ends
// leaves it at once, so that its length is what is to be done.
type queue struct {
	head, tail *connection
	n          int
}

// links is a connection's place in a queue.
type links struct {
	queue      *queue // nil while in none
	prev, next *connection
}

// share is what a connection has had of the tunnel lately.
type share struct {
	credit   int    // bytes that it may still send as one that sends little
	granted  uint64 // the rotation that the credit is of, plus one; 0: none yet
	rotation uint64 // in the bulk queue: the one in which its turn comes
}

func (q *queue) push(c *connection) {
	c.queue, c.prev, c.next = q, q.tail, nil
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
	q.n++
}

// unlink takes the connection out of the queue that it is in, if any.
func (c *connection) unlink() {
	q := c.queue
	if q == nil {
		return
	}
	if c.prev == nil {
		q.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		q.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	q.n--
	c.links = links{}
}

// The order is that of FQ-CoDel (RFC 8290, section 4), a deficit round robin (Shreedhar and Varghese, SIGCOMM 1995)
// in bytes with two queues: those that come back from silence go first, all others take turns of a quantum. That keeps
// typing quick beside bulk without knowing either. A connection goes first only as long as it has not had its quantum
// of this rotation, one turn of everybody in the bulk queue: who falls silent again and again and yet sends a lot takes
// its turns with bulk. (RFC 8290 reaches the same by leaving a queue that is empty in the list of the old ones.)

// ready queues a connection that was silent and has something to send.
func (m *mux) ready(c *connection) {
	c.grant()
	if c.credit > 0 {
		m.fresh.push(c)
	} else {
		m.bulkTurn(c)
	}
	m.work.Signal()
}

// grant gives the connection its credit for this rotation, once.
func (c *connection) grant() {
	if c.granted != c.m.rotation+1 {
		c.granted, c.credit = c.m.rotation+1, c.m.quantum
	}
}

// bulkTurn puts c at the end of the bulk queue. Its turn there is one of the next rotation.
func (m *mux) bulkTurn(c *connection) {
	c.share.rotation = m.rotation + 1
	m.bulk.push(c)
}

// nextTurn takes the connection whose turn it is out of its queue and returns it with how many bytes it
// may send, and whether it came back from silence; or nil when nobody is ready, or the room left in the
// message is not enough. One of the bulk queue gets a whole turn or none: what it missed now it has in
// the next message, and all get the same. A connection that began while this message was being filled
// waits too: what the peer must be told before its data is in the next one.
func (m *mux) nextTurn(room, limit int, full bool) (c *connection, n int, fresh bool) {
	if c = m.bulk.head; c != nil && !full && (m.owed || m.fresh.n == 0) && room-overhead(c) >= limit {
		m.owed = false
		m.rotation = max(m.rotation, c.share.rotation)
		c.grant()
		c.unlink()
		return c, limit, false
	}
	if c = m.fresh.head; c != nil && c.born != m.round && room-overhead(c) >= minTurn {
		c.unlink()
		return c, min(limit, room-overhead(c)), true
	}
	return nil, 0, false
}

// overhead is what a frame of c's data and one of its end need besides the payload, at most.
func overhead(c *connection) int {
	return 3*headerRoom + 2*frame.TrailerRoom(c.s.service, c.id)
}

// fill adds one frame of each connection that is ready now to the batch, as far as buf has room, and until there are
// piece bytes. Whoever is alone gets a full frame. Nothing is waited for: many small frames share a message only
// when they are there at the same time.
//
// room is what the window has left. Beyond it only those go that come back from silence, with a little.
//
// The bulk queue is owed a turn when a whole message had none for it: so nobody starves, however many others
// have a little to say.
func (m *mux) fill(buf []byte, piece, room int) {
	turns, waiting := m.fresh.n+m.bulk.n, m.bulk.n > 0 && room > 0
	m.quantum = min(max(piece/2, sparse), turn)
	limit := min(max(piece, sparse), frame.MaxPayload)
	if turns > 1 {
		limit = m.quantum
	}
	if room <= 0 {
		limit = min(limit, sparse)
	}
	for used := 0; turns > 0 && used < piece; turns-- {
		c, n, fresh := m.nextTurn(len(buf), limit, room <= 0)
		if c == nil {
			break
		}
		waiting = waiting && fresh
		end := c.s.reset(c.id)
		data, ended := c.serve(buf, n)
		c.credit -= len(data)
		if len(data) > 0 {
			m.batch = append(m.batch, data)
			buf = buf[headerRoom+len(data):]
			used += len(data)
		}
		if ended {
			if b, err := end.AppendFrame(buf[:0]); err == nil {
				m.batch = append(m.batch, b)
				buf = buf[len(b):]
			}
		}
	}
	m.owed = m.owed || waiting
}
