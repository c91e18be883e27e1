package stream

import (
	"errors"
	"io"
	"time"
)

// poll reports to the sender when the target has bytes to read. After the connection's end it discards them. The sender
// may still be reading then, and the two reads must not overlap. Its stack stays small: an idle connection has no
// other.
func (c *connection) poll() {
	for c.await() {
	}
	c.mu.Lock()
	c.polling = false
	c.served.Broadcast()
	c.leave()
	c.mu.Unlock()
}

// await waits for bytes once, and until they are sent. It reports whether there may be more.
func (c *connection) await() bool {
	var n int
	var err error
	if c.raw != nil {
		err = c.raw.await()
	} else {
		n, err = c.target.Read(c.plain.buf[:])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handing {
		return false
	}
	if c.closed {
		return err == nil && (c.raw == nil || c.discard())
	}
	if c.raw == nil {
		if n == 0 && err == nil {
			return true
		}
		c.plain.off, c.plain.n = 0, n
	}
	c.readErr = err
	c.pending = true
	c.wake()
	for c.reading || c.pending && !c.closed {
		c.served.Wait()
	}
	return c.readErr == nil
}

// discard reads away what is there, with mu given up meanwhile, and reports whether there may be more.
func (c *connection) discard() bool {
	c.unlock()
	defer c.relock()
	b := newChunk(largeChunk)
	defer b.free()
	_, err := c.raw.tryRead(b.b[:cap(b.b)])
	return err == nil
}

// serve builds c's next frame in buf, of at most limit payload bytes, and returns it, or nil. It is called
// by the sender with mu held, which it gives up while it reads. Afterwards c is queued again, handed back
// to its poller, or ended: the caller then tells the peer.
func (c *connection) serve(buf []byte, limit int) (data []byte, ended bool) {
	m := c.m
	if c.carried {
		return c.serveRecord(m, buf, limit), false
	}
	if c.mustWait() {
		return nil, false
	}
	payload := buf[headerRoom : headerRoom+limit]
	n, sum, epoch := 0, uint32(0), c.epoch
	if c.readErr == nil || c.raw == nil { // else the wait for bytes failed
		n, sum = c.readTarget(payload)
	}
	if c.closed {
		c.served.Broadcast()
		return nil, false
	}
	if n > 0 {
		c.out += uint64(n)
		m.stats.out(c.s.name, n)
		switch {
		case c.epoch != epoch || c.detached: // it was carried meanwhile, and lost
			c.res.Push(payload[:n], sum)
		default:
			if c.res != nil {
				c.res.Fill(nil, payload[:n], sum)
			}
			data = enclose(buf, n, c)
		}
	}
	switch {
	case c.carried && c.more && (c.raw == nil || c.readErr == nil):
		c.wake()
	case c.carried && !c.inputOver():
		c.pending = false
		c.served.Broadcast()
		c.wake()
	case c.carried:
		c.wake() // for serveRecord to see the end
	case c.more && (c.raw == nil || c.readErr == nil):
		c.m.sched.again(&c.member)
	case errors.Is(c.readErr, io.EOF) && c.endInput():
		c.pending = false
		c.served.Broadcast()
	case c.readErr != nil:
		ended = true
		c.endByTarget()
	default:
		c.pending = false
		c.served.Broadcast()
	}
	return data, ended
}

// readTarget reads what the target has into p, with mu given up meanwhile, and returns how much that was, with the
// checksum of the direction as far as it is carried in records.
func (c *connection) readTarget(p []byte) (n int, sum uint32) {
	if c.raw == nil {
		n = copy(p, c.plain.buf[c.plain.off:c.plain.n])
		c.plain.off += n
		c.more = c.plain.off < c.plain.n
		if c.res != nil {
			sum = c.res.Sum(p[:n])
		}
		return n, sum
	}
	res := c.res
	c.reading = true
	c.unlock()
	n, err := c.raw.tryRead(p)
	if n > 0 {
		c.moved(n)
		if res != nil {
			sum = res.Sum(p[:n])
		}
	}
	c.relock()
	c.readDone()
	c.more, c.readErr = n == len(p), err
	return n, sum
}

// moved notes that n bytes passed the target by.
func (c *connection) moved(n int) {
	c.touch()
	c.noteSpeed(n)
}

// noteSpeed notes a read or a write of n bytes. It needs no lock.
func (c *connection) noteSpeed(n int) {
	if n >= fastLeast {
		fastest.moved(c.target, n, time.Now())
	}
}

// touch tells a target that counts idle time of bytes that passed it by.
func (c *connection) touch() {
	if t, ok := c.target.(interface{ Touch() }); ok {
		t.Touch()
	}
}

// endByTarget ends c after the target's last byte. The protocol has no half close: the peer's connection
// ends too, but what it sent so far is still written. The caller sends the reset, behind the data.
func (c *connection) endByTarget() {
	to := draining
	if !errors.Is(c.readErr, io.EOF) {
		to = aborted
	}
	c.setTargetError(c.readErr)
	c.end(to, false)
}
