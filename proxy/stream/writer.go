package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// kick starts the writer, if there is something to do for it and nobody is writing.
func (c *connection) kick() {
	switch {
	case c.writing, c.target == nil, c.gone, c.state == aborted:
		return
	case c.state == open && (c.dead || c.inbox.empty() && !c.mustCloseWriting()):
		return
	}
	if c.writer == nil {
		c.writer = c.write
	}
	c.writing = true
	c.running++
	go c.writer()
}

// write is the writer: it moves the inbox to the target until that is empty, or all is over.
func (c *connection) write() {
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for c.state != aborted {
		if !c.dead && !c.inbox.empty() {
			b := c.inbox.take()
			err := c.writeOut(b.b[b.done:])
			m.release(c, b)
			if err != nil {
				c.refuses()
			}
			continue
		}
		if c.state == draining {
			if !c.dead {
				c.linger()
			}
			break
		}
		if c.dead || !c.mustCloseWriting() {
			_ = c.target.SetWriteDeadline(time.Time{}) // for those who do not wait
			c.writing = false
			c.leave()
			return
		}
		c.closeWriting()
	}
	m.mu.Unlock()
	_ = c.target.Close()
	m.mu.Lock()
	c.writing, c.gone = false, true
	c.leave()
}

// refuses notes that the target takes nothing more. What it said before that is still read, to its end.
func (c *connection) refuses() {
	if c.dead || c.state == aborted {
		return
	}
	c.dead = true
	c.m.unqueue(c)
	if c.half.held || c.half.told {
		c.because(ByTarget)
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
		m.mu.Unlock()
		n, err := c.target.Write(p[:min(piece, len(p))])
		m.mu.Lock()
		c.took(n)
		if n > 0 {
			c.progress = time.Now()
			c.drainBy = c.progress.Add(drainTimeout)
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
	m := c.m
	c.writing = true
	c.running++
	m.mu.Unlock()
	n, err := c.raw.tryWrite(p)
	if n > 0 {
		c.touch()
	}
	m.mu.Lock()
	c.writing = false
	c.took(n)
	if err != nil {
		c.refuses()
	}
	if c.state == aborted {
		c.gone = true // its end left that to us
	}
	c.leave()
	return n
}

func (c *connection) took(n int) {
	if n > 0 {
		c.in += uint64(n)
		c.m.stats.in(c.s.name, n)
	}
}

// linger closes the writing side and lets the poller read away what the target still says, with mu given up
// meanwhile, so that nothing written is lost to a reset.
func (c *connection) linger() {
	half, ok := c.target.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	c.m.mu.Unlock()
	err := half.CloseWrite()
	_ = c.target.SetReadDeadline(time.Now().Add(lingerTimeout))
	c.m.mu.Lock()
	if err != nil && !c.half.closed {
		return
	}
	for c.polling {
		c.served.Wait()
	}
}
