package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// write is the writer: it moves the inbox to the target until that is empty, or all is over.
func (c *connection) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.giveWrite()
	for c.state != aborted && !c.handing {
		switch {
		case !c.dead && !c.inbox.empty():
			b := c.inbox.take()
			err := c.writeOut(b)
			if c.handing && b.done < len(b.b) && err == nil {
				c.inbox.untake(b)
				return
			}
			c.releaseChunk(b)
			if err != nil {
				c.refuses()
			}
		case c.state == draining:
			if !c.dead {
				c.linger()
				c.drained = c.state == draining
			}
			c.end(aborted, false)
		case !c.dead && c.mustCloseWriting():
			c.closeWriting()
		default:
			_ = c.target.SetWriteDeadline(time.Time{}) // for those who do not wait
			return
		}
	}
}

// refuses notes that the target accepts no more writes. Its pending output is still read to the end.
func (c *connection) refuses() {
	if c.dead || c.state == aborted {
		return
	}
	c.dead = true
	c.clearInbox()
	if c.carried {
		c.considerEnd()
		return
	}
	if c.half.held || c.half.told {
		c.setReason(ByTarget)
		c.end(aborted, true) // it was read to its end already
	}
}

// slowWrite is how much a target that is slow is given at a time. A unix socket reports that its reader took
// something only once the reader has taken a whole write.
const slowWrite = 8 << 10

// writeOut writes b to the target, with mu given up meanwhile. A blocked write is interrupted now and then, to see
// what a slow target took until then. A hand-over ends it with some of b left.
func (c *connection) writeOut(b *chunk) error {
	for piece := len(b.b) - b.done; b.done < len(b.b) && !c.handing; {
		p := b.b[b.done:]
		deadline := time.Now().Add(c.m.cfg.StallTimeout / writeSteps)
		if c.state == draining && c.drainBy.Before(deadline) {
			deadline = c.drainBy
		}
		_ = c.target.SetWriteDeadline(deadline)
		c.unlock()
		n, err := c.target.Write(p[:min(piece, len(p))])
		c.noteSpeed(n)
		c.relock()
		c.took(n)
		if n > 0 {
			c.inbox.progress = time.Now()
			c.drainBy = c.inbox.progress.Add(c.drainFor())
		}
		b.done += n
		switch {
		case c.state == aborted:
			return net.ErrClosed
		case err == nil && n == 0:
			return io.ErrShortWrite // a writer that breaks its contract
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded), c.state == draining && !time.Now().Before(c.drainBy):
			return err
		default:
			piece = slowWrite
		}
	}
	return nil
}

// writeNow writes as much of p as the target takes at once, with mu given up meanwhile, and returns how much that
// was. It is for the tunnel's reader alone, while the inbox is empty.
func (c *connection) writeNow(p []byte) int {
	if c.raw == nil || c.writing || c.dead || c.state != open {
		return 0
	}
	c.takeWrite()
	defer c.giveWrite()
	c.unlock()
	n, err := c.raw.tryWrite(p)
	if n > 0 {
		c.moved(n)
	}
	c.relock()
	c.took(n)
	if err != nil {
		c.refuses()
	}
	return n
}

func (c *connection) took(n int) {
	if n > 0 {
		c.in += uint64(n)
		c.m.stats.in(c.s.name, n)
		if c.carried && !c.closed {
			c.res.Took(n)
			c.considerCredit()
			c.wake()
		}
	}
}

// flush waits until the target's system has all that was written: a reset drops what is still here.
func (c *connection) flush() {
	for end := time.Now().Add(lingerTimeout); c.raw != nil && c.state == draining && time.Now().Before(end); {
		if c.raw.unsent() == 0 {
			return
		}
		look := time.AfterFunc(flushStep, c.m.backlog.wake)
		c.m.backlog.wait()
		look.Stop()
	}
}

// linger closes the writing side and lets the poller read away what the target still says, with mu given up
// meanwhile, so that nothing written is lost to a reset.
func (c *connection) linger() {
	if c.broken {
		c.flush()
		return
	}
	half, ok := c.target.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	c.unlock()
	err := half.CloseWrite()
	_ = c.target.SetReadDeadline(time.Now().Add(lingerTimeout))
	c.relock()
	c.resetOnExit(c.broken)
	if err != nil && !c.half.closed {
		return
	}
	for c.polling {
		c.served.Wait()
	}
}

// drainFor is how long a target may take nothing of what was received before its connection's end. Between two ends
// of this package, and once all is in order, that is its own affair.
func (c *connection) drainFor() time.Duration {
	if c.finished {
		return halfTimeout
	}
	return drainTimeout
}

// closeWriting closes the target's write side, with the lock given up meanwhile.
func (c *connection) closeWriting() {
	c.half.closed = true
	h, ok := c.target.(interface{ CloseWrite() error })
	err := errors.ErrUnsupported
	if ok {
		c.unlock()
		err = h.CloseWrite()
		c.relock()
		c.resetOnExit(c.broken)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		if !c.carried {
			c.half.closed = false
			c.setReason(ByPeer)
			c.end(draining, true) // as the protocol has it
			return
		}
		if !c.res.Ended() { // all of the target is closed at the end, so it has nothing more to say
			c.inputEnded()
			c.wake()
		}
	}
	c.considerEnd()
}

// releaseChunk gives a written chunk's memory back.
func (c *connection) releaseChunk(b *chunk) {
	if !c.carried {
		c.m.backlog.release(&c.inbox, b)
		return
	}
	before := c.inbox.charged
	c.inbox.release(b)
	c.m.resume.Memory.Give(before - c.inbox.charged)
	c.m.backlog.room.Broadcast()
}

// clearInbox drops what waits for the target.
func (c *connection) clearInbox() {
	if !c.carried {
		c.m.backlog.clear(&c.inbox)
		return
	}
	before := c.inbox.charged
	c.inbox.clear()
	c.m.resume.Memory.Give(before - c.inbox.charged)
	c.m.backlog.room.Broadcast()
}
