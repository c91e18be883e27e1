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
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	defer c.giveWrite()
	for c.state != aborted {
		switch {
		case !c.dead && !c.inbox.empty():
			b := c.inbox.take()
			err := c.writeOut(b.b[b.done:])
			m.backlog.release(&c.inbox, b)
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

// refuses notes that the target takes nothing more. What it said before that is still read, to its end.
func (c *connection) refuses() {
	if c.dead || c.state == aborted {
		return
	}
	c.dead = true
	c.m.backlog.clear(&c.inbox)
	if c.half.held || c.half.told {
		c.setReason(ByTarget)
		c.end(aborted, true) // it was read to its end already
	}
}

// slowWrite is how much a target that is slow is given at a time. A unix socket tells that its reader took
// something only once that is all that one write gave it.
const slowWrite = 8 << 10

// writeOut writes p to the target, with mu given up meanwhile. A blocked write is interrupted now and then, to see
// what a slow target took until then.
func (c *connection) writeOut(p []byte) error {
	m := c.m
	for piece := len(p); len(p) > 0; {
		deadline := time.Now().Add(m.stall / writeSteps)
		if c.state == draining && c.drainBy.Before(deadline) {
			deadline = c.drainBy
		}
		_ = c.target.SetWriteDeadline(deadline)
		m.unlock()
		n, err := c.target.Write(p[:min(piece, len(p))])
		m.relock()
		c.took(n)
		if n > 0 {
			c.inbox.progress = time.Now()
			c.drainBy = c.inbox.progress.Add(drainTimeout)
		}
		p = p[n:]
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
	c.m.unlock()
	n, err := c.raw.tryWrite(p)
	if n > 0 {
		c.touch()
	}
	c.m.relock()
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
	c.m.unlock()
	err := half.CloseWrite()
	_ = c.target.SetReadDeadline(time.Now().Add(lingerTimeout))
	c.m.relock()
	if err != nil && !c.half.closed {
		return
	}
	for c.polling {
		c.served.Wait()
	}
}
