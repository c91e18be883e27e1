package stream

import (
	"errors"
	"io"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

const (
	// creditDelay is how long a small confirmation may wait for others.
	creditDelay = 200 * time.Millisecond
	// vacantTimeout is how long a destination waits for a connection's first record, which follows its start in the
	// same websocket message.
	vacantTimeout = 30 * time.Second
	// bulkReads is for how many reads a connection counts as bulk after one that came back half full at least. A kernel
	// that hands over 64 KiB at a time makes full reads and short ones take turns.
	bulkReads = 2
	// confirmTimeout is how long a source waits for any confirmation before it takes the stream for lost.
	confirmTimeout = 10 * time.Second
)

// carriage is what a connection carried in records has besides. It is guarded by the tunnel's lock.
type carriage struct {
	res      *resume.Stream // nil unless offered or carried
	seen     bool           // the peer's first message came
	offered  bool           // it is not known yet whether the peer speaks records
	carried  bool           // it does
	failed   bool           // the dial failed
	vacant   bool           // destination: the first record says what the connection is
	detached bool           // it waits for a websocket
	joined   bool           // it counts as one of its tunnel's
	placed   bool           // it has a place of the budget
	finished bool           // both directions have ended in order
	why      resume.Reason  // why it ends, for the peer; Done means what the application did
	epoch    uint64         // counts the websockets

	creditTimer, confirmTimer *time.Timer
	creditSet                 bool
	confirmSet                bool
	asked                     time.Time // since when an answer is awaited; zero: none is
	confirmed                 uint64    // what was confirmed then
	tries                     int       // in a row to resume
	attached                  time.Time // the peer has attached it; zero: not yet

	resumed int
	lost    time.Time     // since when it waits for a websocket; zero: it does not
	away    time.Duration // the same, in all
}

// carry begins to carry c in records.
func (c *connection) carry() {
	c.offered, c.carried = false, true
	c.stopTimer()
	if !c.m.resume.Add(c.res.ID(), c) {
		c.violated(errSameIdentity)
		return
	}
	if c.m.source {
		c.answered()
	}
	if c.half.held {
		c.half.held = false
		c.inputEnded()
	}
	c.wake()
}

// wants reports whether the sender has something to do for c.
func (c *connection) wants() bool {
	return c.res.Pending() || c.pending && !c.res.Ended() && (c.inputOver() || c.res.Room() > 0)
}

// inputOver reports whether nothing more will be read from the target.
func (c *connection) inputOver() bool {
	return c.readErr != nil && (c.raw != nil || c.plain == nil || c.plain.off == c.plain.n)
}

// wake queues c, if there is something to do for the sender.
func (c *connection) wake() {
	if c.closed || c.detached || c.reading || c.queue != nil || c.carried && !c.wants() || !c.carried && !c.pending {
		return
	}
	c.m.sched.ready(&c.member)
	c.m.work.Signal()
}

// serveRecord is serve for a connection carried in records.
func (c *connection) serveRecord(m *mux, buf []byte, limit int) (data []byte) {
	payload := buf[headerRoom : headerRoom+limit]
	if rec, ok := c.res.Next(payload[:0:limit]); ok {
		if len(rec) > 0 {
			data = enclose(buf, len(rec), c)
		} else if msg := c.s.message(frame.Data, c.id); true {
			data, _ = msg.AppendFrame(buf[:0]) // the mark
		}
		c.watchConfirmation()
		c.wake()
		return data
	}
	if !c.pending || c.res.Ended() {
		return nil
	}
	if !c.inputOver() {
		if data, ok := c.serveBytes(m, buf, payload); !ok || data != nil {
			return data
		}
	}
	if c.inputOver() {
		c.pending = false
		c.served.Broadcast()
		if !errors.Is(c.readErr, io.EOF) {
			c.broken = true
			c.setTargetError(c.readErr)
			c.why = c.whyBroken()
			c.end(aborted, true)
			return nil
		}
		c.inputEnded()
		c.wake()
	}
	return nil
}

// serveBytes reads new bytes of the target into a record. It returns false where c may not be used any more.
func (c *connection) serveBytes(m *mux, buf, payload []byte) (data []byte, ok bool) {
	room := min(c.res.Room(), len(payload)-1)
	if room <= 0 {
		return nil, false // until there is credit
	}
	var block *resume.Block
	if c.raw != nil && c.bulk > 0 {
		if block = resume.NewBlock(room, overhead(c)); block != nil {
			buf = block.Memory()
			payload = buf[headerRoom:]
			m.lent = append(m.lent, block)
		}
	}
	epoch, into := c.epoch, payload[1:1+room]
	n, sum := c.readTarget(into)
	switch {
	case n >= len(into)/2:
		c.bulk = bulkReads
	case c.bulk > 0:
		c.bulk--
	}
	if c.closed {
		c.served.Broadcast()
		return nil, false
	}
	if n > 0 {
		c.out += uint64(n)
		m.stats.out(c.s.name, n)
		switch {
		case c.epoch != epoch || c.detached: // it has lost this websocket meanwhile
			c.res.Push(into[:n], sum)
		case block != nil:
			c.res.FillBlock(block, payload[:1], into[:n], sum)
			data = enclose(buf, n+1, c)
		default:
			c.res.Fill(payload[:1], into[:n], sum)
			data = enclose(buf, n+1, c)
		}
		if data != nil {
			c.watchConfirmation()
		}
	}
	switch {
	case c.more && !c.inputOver() && c.epoch == epoch && !c.detached && c.wants():
		m.sched.again(&c.member)
	case c.more && !c.inputOver(): // until there is credit, or a websocket
		c.wake()
	case !c.inputOver():
		c.pending = false
		c.served.Broadcast()
		c.wake()
	case data != nil:
		c.wake()
	}
	return data, true
}

// inputEnded notes the end of the target's input.
func (c *connection) inputEnded() {
	c.half.told = true
	if c.half.first == "" {
		c.half.first = ByTarget
	}
	c.res.End()
	c.watchIdle()
}

// received acts on one message of a connection carried in records. m is the reader's tunnel.
func (c *connection) received(m *mux, payload []byte) {
	waiting := c.res.Waiting()
	data, err := c.res.Receive(payload)
	c.answeredAll()
	switch at, answered := c.res.At(); {
	case err != nil:
		if waiting {
			m.resume.Remember(resume.Peer{}) // the far end may no longer be of this package
		}
		c.violated(err)
		return
	case c.res.Misled():
		m.heardFrom(at)
		c.openElsewhere()
		return
	case waiting && answered && !c.res.Waiting():
		m.heardFrom(at)
		c.returned()
	}
	if reason, over := c.res.Closed(); over {
		m.cfg.Logger.Debug("connection ended by the far side", "service", c.s.name, "reason", reason.String())
		c.broken = true
		c.setReason(reasonOfPeer(reason))
		c.end(draining, false)
		return
	}
	if len(data) > 0 {
		c.deliverBytes(m, data)
		m.awaitTaken(c)
	}
	if c.closed {
		return
	}
	if c.res.FarEnded() && !c.half.ended {
		c.half.ended = true
		if c.half.first == "" {
			c.half.first = ByPeer
		}
		c.settle()
		c.watchIdle()
	}
	c.considerEnd()
	c.considerCredit()
	c.wake()
}

// resetByPeer notes that the connection or its stream was reset. To others than ourselves that is an orderly end; we
// would have said more, so what lies between has lost it.
func (c *connection) resetByPeer() {
	if c.carried {
		c.m.farEnd.present = false
		c.lose()
		return
	}
	c.setReason(ByPeer)
	c.end(draining, false)
}

var errSameIdentity = errors.New("the identity of another connection")

// violated ends a connection whose peer broke the rules of the records, or whose bytes do not match.
func (c *connection) violated(err error) {
	c.m.warn("records "+c.s.name, "connection reset: its records are wrong",
		"service", c.s.name, "stream", c.s.id, "connection", c.id, "error", err)
	c.m.stats.failed(c.s.name, err.Error())
	c.broken, c.why = true, resume.ReasonOf(err)
	c.setReason(Violation)
	c.end(aborted, true)
}

// deliverBytes hands bytes to the target, as far as it takes them now. The rest waits within the credit that the
// peer was granted: it holds up no other connection.
func (c *connection) deliverBytes(m *mux, p []byte) {
	if c.dead {
		return // no more credit
	}
	atOnce := c.inbox.empty() && !c.writing && len(p) >= directly
	if atOnce {
		p = p[c.writeNow(p):]
		if len(p) == 0 || c.dead || c.state == aborted {
			return
		}
	}
	if atOnce && !c.inbox.empty() { // the next websocket was faster
		before := c.inbox.charged
		c.inbox.putFirst(p)
		m.resume.Memory.Take(c.inbox.charged-before, true)
		c.settle()
		return
	}
	// Granted credit always has room, whatever waits for other connections: the initial credit of a connection, and
	// Memory's promises beyond it. If that is more than the process has, the tunnel that holds most gives way.
	grow := c.inbox.growth(len(p))
	if grow > smallChunk && m.resume.Memory.Exhausted() {
		m.relieve(c)
	}
	if c.state == aborted { // one that drains still takes what came before its end
		return
	}
	m.resume.Memory.Take(grow, true)
	if c.inbox.charged == 0 {
		c.inbox.progress = time.Now() // until now there were no bytes to take
	}
	c.inbox.put(p)
	if c.raw == nil || len(p) >= directly || c.m != m {
		c.settle()
	} else if !c.deferred {
		c.deferred = true
		m.deferred = append(m.deferred, c)
	}
}

// considerCredit sends the peer a confirmation, at once or soon.
func (c *connection) considerCredit() {
	if c.closed || !c.res.OwesCredit() || c.creditSet || c.detached {
		return
	}
	c.creditSet = true
	if c.creditTimer == nil {
		c.creditTimer = time.AfterFunc(creditDelay, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.creditSet = false
			if !c.closed {
				c.res.SendCredit()
				c.wake()
			}
		})
		return
	}
	c.creditTimer.Reset(creditDelay)
}

// considerEnd ends c when both directions have ended in order, or the target takes nothing more and all that it said
// has arrived.
func (c *connection) considerEnd() {
	switch {
	case c.closed || !c.carried:
	case c.dead && c.res.EndConfirmed():
		c.broken, c.why = true, c.whyBroken()
		c.setReason(ByTarget)
		c.end(aborted, true)
	case c.res.Finished():
		c.finished = true
		if c.half.closed {
			c.watch.reason = c.half.first
			c.end(draining, true)
			return
		}
		// The peer needs us no more. What is left is between the target and us, for as long as it likes.
		c.watch.reason = c.half.first
		c.tellClose()
		c.leaveTunnel()
		c.m.resume.Linger(c.res.ID())
		c.end(draining, false)
	}
}

// tellClose tells the peer that the connection is over, and why.
func (c *connection) tellClose() {
	r := resume.Record{Type: resume.Close, Reason: c.why}
	if c.why == resume.Done && !c.finished {
		r.Reason = resume.Reset
	}
	lost := c.detached || c.m.ended
	c.rememberEnd(r.Reason, lost)
	if lost {
		return
	}
	if c.res.Greets() {
		c.tellNext() // else CLOSE would be taken for bytes of the application
	}
	c.m.tellRecord(c.s, c.id, r)
	c.m.tell(c.s.reset(c.id))
}

// retire is called when c has ended for the peer.
func (c *connection) retire() {
	for _, t := range []*time.Timer{c.creditTimer, c.confirmTimer} {
		if t != nil {
			t.Stop()
		}
	}
	c.endWait()
	if c.res == nil {
		return
	}
	if w, _ := c.m.resume.Find(c.res.ID()); w == resume.Conn(c) && !c.finished { // else when it is forgotten
		c.m.resume.Remove(c.res.ID(), resume.Reset)
	}
	c.res.Release()
}

// Expire ends a connection that waited in vain.
func (c *connection) Expire(why resume.Reason) {
	c.broken, c.why = true, why
	if why == resume.Stopped {
		c.setReason(Stopped)
	} else {
		c.setReason(TunnelLost)
	}
	c.end(aborted, true)
}
