package relay

import (
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// write sends what is queued for the peer until the connection ends.
func (p *peer) write() {
	var batch []byte
	for {
		if p.relay.cfg.Cutting == Awkward && p.rng.IntN(8) == 0 {
			p.pause(time.Millisecond) // so that there is something to merge
		}
		var pong []byte
		if batch, pong = p.next(batch); batch == nil && pong == nil {
			return
		}
		if pong != nil {
			if p.hold(false) {
				_ = p.ws.WriteControl(websocket.PongMessage, pong, time.Time{})
			}
		} else if !p.send(batch) {
			return
		}
	}
}

// next waits for something to send: a batch of frames or a pong. Both are nil at the end.
func (p *peer) next(into []byte) (batch, pong []byte) {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	for !p.gone {
		if pong = p.pong; pong != nil {
			p.pong = nil
			return nil, pong
		}
		if len(p.out.pending) == 0 {
			p.out.ready.Wait()
			continue
		}
		var wait time.Duration
		if batch, wait = p.out.take(into); wait == 0 {
			return batch, nil
		}
		p.link.mu.Unlock()
		p.pause(wait)
		p.link.mu.Lock()
	}
	return nil, nil
}

// send writes a batch of whole frames as websocket messages.
func (p *peer) send(batch []byte) bool {
	p.writing.Lock()
	defer p.writing.Unlock()
	for len(batch) > 0 {
		if !p.hold(false) {
			return false
		}
		n := p.cut(batch)
		if limits := p.conditions.Load().out; len(limits) > 0 {
			n = min(n, smooth)
			p.throttle(limits, n)
		}
		if err := p.ws.WriteMessage(websocket.BinaryMessage, batch[:n]); err != nil {
			p.finish(ending{closed: true, why: "write failed"})
			return false
		}
		batch = batch[n:]
	}
	return true
}

// cut chooses how much of the batch goes into the next message.
func (p *peer) cut(batch []byte) int {
	most := min(len(batch), frame.MaxWebsocketMessage)
	switch p.relay.cfg.Cutting {
	case Straight:
		return most
	case Aligned:
		return len(nextFrame(batch))
	default:
		switch p.rng.IntN(8) {
		case 0: // within a length prefix, within a tag
			most = min(most, 16)
		case 1, 2:
			most = min(most, 4<<10)
		case 3: // all there is
			return most
		}
		return 1 + p.rng.IntN(most)
	}
}

// queue holds the frames that wait for one connection. Its owner's link has the lock.
type queue struct {
	pending     []byte
	marks       []mark // set only while delays are in force
	ready, room *sync.Cond
}

// mark says when the bytes up to it may leave.
type mark struct {
	size int
	due  time.Time
}

func newQueue(l sync.Locker) queue { return queue{ready: sync.NewCond(l), room: sync.NewCond(l)} }

func (q *queue) full(limit int) bool { return len(q.pending) >= limit }

func (q *queue) push(b []byte, delay time.Duration) {
	if delay > 0 || len(q.marks) > 0 {
		due := time.Now().Add(delay)
		if n := len(q.marks); n > 0 && q.marks[n-1].due.After(due) {
			due = q.marks[n-1].due
		}
		q.marks = append(q.marks, mark{len(b), due})
	}
	q.pending = append(q.pending, b...)
	q.ready.Signal()
}

func (q *queue) wake() {
	q.ready.Broadcast()
	q.room.Broadcast()
}

// take returns what may leave now, or how long to wait for it. into is a buffer to use again.
func (q *queue) take(into []byte) (batch []byte, wait time.Duration) {
	if len(q.marks) == 0 {
		batch, q.pending = q.pending, into[:0]
	} else {
		now, n := time.Now(), 0
		due := 0
		for _, k := range q.marks {
			if k.due.After(now) {
				break
			}
			due++
			n += k.size
		}
		if due == 0 {
			return nil, q.marks[0].due.Sub(now)
		}
		batch = append(into[:0], q.pending[:n]...)
		q.pending = q.pending[:copy(q.pending, q.pending[n:])]
		q.marks = slices.Delete(q.marks, 0, due)
	}
	q.room.Broadcast()
	return batch, 0
}
