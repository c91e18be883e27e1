package relay

import (
	"math/rand/v2"
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
				p.throttle(p.conditions.Load().out, controlHead+len(pong))
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
		if p.out.empty() {
			p.out.ready.Wait()
			continue
		}
		var wait time.Duration
		if pong, wait = p.out.takePong(); pong != nil {
			return nil, pong
		}
		if wait == 0 {
			batch, wait = p.out.take(into)
		}
		if wait == 0 {
			return batch, nil
		}
		p.link.mu.Unlock()
		p.pauseOr(wait, p.out.pong)
		p.link.mu.Lock()
	}
	return nil, nil
}

// unwritable lets the reader end the connection. What a peer sent before it closed its connection may still be on its way
// here, and counts.
func (p *peer) unwritable() {
	p.finishing.Lock()
	defer p.finishing.Unlock()
	if !p.finished {
		_ = p.ws.SetReadDeadline(time.Now().Add(linger))
	}
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
			p.unwritable()
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

// queue holds the frames and pongs that wait for one connection, in their order. Its owner's link has the lock.
type queue struct {
	pending       []byte
	marks         []mark     // set only while delays are in force
	mix           *rand.Rand // nil unless connections are mixed
	pieces        []piece    // the messages in pending, while mixed
	pongs         []pong
	pong          chan struct{} // has room for one: a pong is queued, which may leave first
	pushed, taken uint64        // bytes of frames so far
	ready, room   *sync.Cond
}

// mark says when the bytes up to it may leave.
type mark struct {
	size int
	due  time.Time
}

// pong is an answer that leaves once the first at bytes of frames have left.
type pong struct {
	at      uint64
	due     time.Time // zero: at once
	payload []byte
}

// maxPongs bounds the answers kept for a peer that does not read: only the latest ping must be answered
// (RFC 6455, section 5.5.3).
const maxPongs = 256

func newQueue(l sync.Locker) queue {
	return queue{ready: sync.NewCond(l), room: sync.NewCond(l), pong: make(chan struct{}, 1)}
}

func (q *queue) full(limit int) bool { return len(q.pending) >= limit }

func (q *queue) empty() bool { return len(q.pending) == 0 && len(q.pongs) == 0 }

// due is when something pushed now may leave; zero: at once.
func (q *queue) due(delay time.Duration) (due time.Time) {
	if n := len(q.marks); n > 0 {
		due = q.marks[n-1].due
	}
	if n := len(q.pongs); n > 0 && q.pongs[n-1].due.After(due) {
		due = q.pongs[n-1].due
	}
	if delay > 0 || !due.IsZero() {
		if own := time.Now().Add(delay); own.After(due) {
			due = own
		}
	}
	return due
}

func (q *queue) push(b []byte, delay time.Duration) {
	if due := q.due(delay); !due.IsZero() {
		if len(q.marks) == 0 && len(q.pending) > 0 {
			q.marks = append(q.marks, mark{size: len(q.pending)}) // from before there was a delay
		}
		q.marks = append(q.marks, mark{len(b), due})
	}
	q.pending = append(q.pending, b...)
	q.note(len(q.pieces), piece{size: len(b)})
	q.pushed += uint64(len(b))
	q.ready.Signal()
}

// pushPong queues an answer behind the frames that had left the relay when the ping arrived there, but not behind those
// that were still under way to the relay on the other side's delayed link. It replaces a pong that would leave at the
// same time.
func (q *queue) pushPong(payload []byte, delay time.Duration) {
	p := pong{at: q.pushed, payload: payload}
	last := len(q.pongs) - 1
	if len(q.marks) > 0 || delay > 0 || last >= 0 && !q.pongs[last].due.IsZero() {
		p.due = time.Now().Add(delay)
		for i := len(q.marks) - 1; i >= 0 && q.marks[i].due.After(p.due); i-- {
			p.at -= uint64(q.marks[i].size) //nolint:gosec // a length
		}
		if last >= 0 { // delays may have changed
			p.at = max(p.at, q.pongs[last].at)
			p.due = latest(p.due, q.pongs[last].due)
		}
	}
	if last >= 0 && (last+1 >= maxPongs || q.pongs[last].at == p.at && p.due.IsZero()) {
		q.pongs[last] = p
	} else {
		q.pongs = append(q.pongs, p)
	}
	q.ready.Signal()
	select {
	case q.pong <- struct{}{}:
	default:
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// takePong returns the pong that is next, or how long to wait for it. It returns neither when frames are next.
func (q *queue) takePong() (payload []byte, wait time.Duration) {
	if len(q.pongs) == 0 || q.pongs[0].at > q.taken {
		return nil, 0
	}
	p := q.pongs[0]
	if !p.due.IsZero() {
		if wait = time.Until(p.due); wait > 0 {
			return nil, wait
		}
	}
	q.pongs = slices.Delete(q.pongs, 0, 1)
	return p.payload, 0
}

func (q *queue) wake() {
	q.ready.Broadcast()
	q.room.Broadcast()
}

// take returns the frames that may leave now, or how long to wait for them. into is a buffer to use again.
func (q *queue) take(into []byte) (batch []byte, wait time.Duration) {
	n := len(q.pending)
	if len(q.pongs) > 0 {
		n = int(q.pongs[0].at - q.taken) //nolint:gosec // within pending
	}
	if len(q.marks) > 0 {
		now, due, size := time.Now(), 0, 0
		for i := range q.marks {
			k := &q.marks[i]
			if size == n || k.due.After(now) {
				break
			}
			if size+k.size > n { // a pong stands between
				k.size -= n - size
				size = n
				break
			}
			due++
			size += k.size
		}
		if size == 0 {
			return nil, q.marks[0].due.Sub(now)
		}
		q.marks, n = slices.Delete(q.marks, 0, due), size
	}
	if n == len(q.pending) {
		batch, q.pending = q.pending, into[:0]
	} else {
		batch = append(into[:0], q.pending[:n]...)
		q.pending = q.pending[:copy(q.pending, q.pending[n:])]
	}
	q.took(n)
	q.taken += uint64(n)
	q.room.Broadcast()
	return batch, 0
}
