package relay

import (
	"slices"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// mixDepth bounds the messages of other connections that one message overtakes.
const mixDepth = 8

// connection names a connection of a tunnel. The zero value stands for messages that keep their place.
type connection struct {
	stream int32
	id     uint32
}

// piece is a message in a queue.
type piece struct {
	size int
	of   connection
}

// connectionOf returns the connection of m. Messages about a whole stream or session belong to none.
func connectionOf(m *frame.Message) connection {
	switch m.Type {
	case frame.Data, frame.ConnectionStart, frame.ConnectionReset:
		return connection{m.StreamID, max(m.ConnectionID, 1)} // absent means 1
	default:
		return connection{}
	}
}

// pushMixed is push for a message that overtakes some messages of other connections. It does not overtake a
// deliberately late message, nor a pong, which confirms everything before it.
func (q *queue) pushMixed(b []byte, of connection) {
	if len(q.marks) > 0 || of == (connection{}) {
		q.push(b, 0)
		return
	}
	floor := 0
	if n := len(q.pongs); n > 0 {
		floor = int(q.pongs[n-1].at - q.taken) //nolint:gosec // within pending
	}
	at, i := len(q.pending), len(q.pieces)
	for depth := q.mix.IntN(mixDepth + 1); depth > 0 && i > 0; depth-- {
		before := q.pieces[i-1]
		if before.of == of || before.of == (connection{}) || at-before.size < floor {
			break
		}
		at, i = at-before.size, i-1
	}
	q.pending = slices.Insert(q.pending, at, b...)
	q.note(i, piece{len(b), of})
	q.pushed += uint64(len(b))
	q.ready.Signal()
}

// note records a message's place among the waiting ones.
func (q *queue) note(i int, p piece) {
	if q.mix != nil {
		q.pieces = slices.Insert(q.pieces, i, p)
	}
}

// took forgets the messages in the first n bytes.
func (q *queue) took(n int) {
	if q.mix == nil {
		return
	}
	i := 0
	for ; n > 0; i++ {
		n -= q.pieces[i].size
	}
	q.pieces = slices.Delete(q.pieces, 0, i)
}
