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

// ready puts a connection that was silent into the queue of those that are served first: the order of
// FQ-CoDel (RFC 8290, section 4.1), which keeps typing quick beside bulk without knowing either.
func (m *mux) ready(c *connection) {
	m.fresh.push(c)
	m.work.Signal()
}

// nextTurn takes the connection whose turn it is out of its queue and returns it with how many bytes it
// may send, and whether it came back from silence; or nil when nobody is ready, or the room left in the
// message is not enough. One of the bulk queue gets a whole turn or none: what it missed now it has in
// the next message, and all get the same. A connection that began while this message was being filled
// waits too: what the peer must be told before its data is in the next one.
func (m *mux) nextTurn(room, limit int) (c *connection, n int, fresh bool) {
	if c = m.bulk.head; c != nil && (m.owed || m.fresh.n == 0) && room-overhead(c) >= limit {
		m.owed = false
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

// fill adds one frame of each connection that is ready now to the batch, as far as buf has room.
// Whoever is alone gets a full frame. Nothing is waited for: many small frames share a message only
// when they are there at the same time.
//
// A connection that came back from silence and yet sent a lot lets one of the bulk queue go before the
// next of its kind. The bulk queue is also owed a turn when a whole message had none for it. So nobody
// starves.
func (m *mux) fill(buf []byte) {
	turns, waiting := m.fresh.n+m.bulk.n, m.bulk.n > 0
	limit := frame.MaxPayload
	if turns > 1 {
		limit = turn
	}
	for ; turns > 0; turns-- {
		c, n, fresh := m.nextTurn(len(buf), limit)
		if c == nil {
			break
		}
		waiting = waiting && fresh
		end := c.s.reset(c.id)
		data, ended := c.serve(buf, n)
		if len(data) > 0 {
			m.batch = append(m.batch, data)
			buf = buf[headerRoom+len(data):]
			m.owed = m.owed || fresh && len(data) > sparse
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
