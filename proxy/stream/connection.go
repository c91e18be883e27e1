package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// state is how far a connection is in its life. It only ever moves forward.
type state uint8

const (
	dialling state = iota // the target is being dialled; what arrives is held
	open                  // bytes go both ways
	draining              // ended for the peer; what it sent before is still written
	aborted               // ended; nothing more is written
)

// connection is one TCP connection carried by the tunnel, between the peer and a local target. All
// fields are guarded by mux.mu, except where a comment names their goroutine.
type connection struct {
	m      *mux
	s      *stream
	id     uint32
	born   uint64   // the sender's round in which it began
	target net.Conn // nil while dialling
	state  state
	cancel context.CancelFunc // of the dial

	// tunnel -> target
	inbox    inbox
	wake     sync.Cond // the writer waits here
	dead     bool      // the target takes nothing more; its last words may still be read
	progress time.Time // when the target last took something, or the dial began
	drainBy  time.Time // when draining ends, whatever is left

	// target -> tunnel
	raw     *rawReader // used by whoever has the turn: the poller, or the sender while pending
	first   []byte     // what the poller read: first[off:n]
	off, n  int
	more    bool      // the last read came back full: there may be more
	readErr error     // why nothing more will be read
	pending bool      // in a ready list or being served; the poller waits
	reading bool      // the sender reads with mu given up; the poller waits
	served  sync.Cond // the poller waits here
	closed  bool      // nothing more goes to the tunnel
	links
	half  half
	began time.Time
	watch watched

	in, out uint64 // bytes to and from the target
}

// run owns the connection from dial to close.
func (c *connection) run(ctx context.Context) {
	defer c.m.wg.Done()
	defer c.m.forget(c)
	if c.target == nil && !c.dial(ctx) {
		return
	}
	c.tellOpened()
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		c.poll()
	}()
	if c.write() {
		c.linger(polled)
	}
	_ = c.target.Close()
	<-polled
}

// dial connects the target, and tells whether there is one to serve.
func (c *connection) dial(ctx context.Context) bool {
	defer c.cancel()
	target, err := c.m.dial(ctx, c.s.name)
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if err != nil {
		if !c.closed {
			c.m.refused(c.s.name, err)
			c.end(aborted, true)
		}
		return false
	}
	if c.state == aborted {
		_ = target.Close()
		return false
	}
	c.attach(target)
	return true
}

// attach gives the connection its target.
func (c *connection) attach(target net.Conn) {
	c.target, c.progress = target, time.Now()
	c.raw = newRawReader(target)
	size := firstRead
	if c.raw == nil {
		size = plainRead
	}
	c.first = make([]byte, size)
	if c.state == dialling {
		c.state = open
	} else {
		c.drainBy = time.Now().Add(drainTimeout)
	}
}

// end ends the connection for the peer, who is told of it if tell is set: at most once, since it is
// gone from its stream's table then.
func (c *connection) end(to state, tell bool) {
	if to > c.state {
		c.state = to
		c.drainBy = time.Now().Add(drainTimeout)
	}
	if !c.closed {
		c.closed = true
		c.stopTimer()
		c.unlink()
		c.m.remove(c)
		if tell {
			c.m.tell(c.s.reset(c.id))
		}
	}
	if c.state == aborted {
		c.m.unqueue(c)
		if c.target != nil {
			_ = c.target.Close()
		}
	}
	if c.target == nil && c.cancel != nil && (c.state == aborted || c.inbox.empty()) {
		c.cancel()
	}
	c.wake.Broadcast()
	c.served.Broadcast()
}

// write moves the inbox to the target until the connection's end. It tells whether the end was orderly.
func (c *connection) write() bool {
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		for c.state == open && (c.dead || c.inbox.empty()) {
			if c.half.ended && !c.half.closed && !c.dead {
				c.closeWriting()
				continue
			}
			c.wake.Wait()
		}
		if c.state == aborted || c.dead {
			return false
		}
		if c.inbox.empty() {
			return true
		}
		b := c.inbox.take()
		written := c.writeOut(b.b)
		m.release(c, b)
		if !written {
			// The target closed its side. What it said before that is still read, to its end.
			c.dead = true
			m.unqueue(c)
			if c.half.held || c.half.told {
				c.because(ByTarget)
				c.end(aborted, true) // it was read to its end already
			}
		}
	}
}

// writeOut writes p to the target, with mu given up meanwhile, and tells whether it could. A blocked
// write is interrupted now and then, to see what a slow target took until then.
func (c *connection) writeOut(p []byte) bool {
	m := c.m
	for {
		deadline := time.Now().Add(m.stall / writeSteps)
		if c.state == draining && c.drainBy.Before(deadline) {
			deadline = c.drainBy
		}
		_ = c.target.SetWriteDeadline(deadline)
		m.mu.Unlock()
		n, err := c.target.Write(p)
		m.mu.Lock()
		if n > 0 {
			c.progress = time.Now()
			c.drainBy = c.progress.Add(drainTimeout)
			c.in += uint64(n)
			m.stats.in(c.s.name, n)
		}
		p = p[n:]
		switch {
		case err == nil && len(p) == 0:
			return true
		case c.state == aborted:
			return false
		case err == nil:
			return false // a writer that breaks its contract
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case c.state == draining && !time.Now().Before(c.drainBy):
			return false
		}
	}
}

// linger closes the writing side and lets the poller read away what the target still says, so that
// nothing written is lost to a reset.
func (c *connection) linger(polled <-chan struct{}) {
	half, ok := c.target.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil && !c.half.closed {
		return
	}
	_ = c.target.SetReadDeadline(time.Now().Add(lingerTimeout))
	<-polled
}

// poll waits for bytes from the target and hands them to the sender. After the connection's end it reads
// them away; the sender may be at a read still, and theirs must not meet.
func (c *connection) poll() {
	m := c.m
	for {
		n, err := c.target.Read(c.first)
		m.mu.Lock()
		if c.closed {
			m.mu.Unlock()
			if err != nil {
				return
			}
			continue
		}
		c.off, c.n, c.more, c.readErr = 0, n, n == len(c.first), err
		if n == 0 && err == nil {
			m.mu.Unlock()
			continue
		}
		c.pending = true
		m.ready(c)
		for c.reading || c.pending && !c.closed {
			c.served.Wait()
		}
		ended := c.readErr != nil
		m.mu.Unlock()
		if ended {
			return
		}
	}
}

// serve builds c's next frame in buf, of at most limit payload bytes, and returns it, or nil. It is called
// by the sender with mu held, which it gives up while it reads. Afterwards c is queued again, handed back
// to its poller, or ended: the caller then tells the peer.
func (c *connection) serve(buf []byte, limit int) (data []byte, ended bool) {
	payload := buf[headerRoom : headerRoom+limit]
	n := copy(payload, c.first[c.off:c.n])
	c.off += n
	if c.off == c.n && c.more && c.readErr == nil && c.raw != nil && n < limit {
		want := limit - n
		c.reading = true
		c.m.mu.Unlock()
		got, err := c.raw.tryRead(payload[n:])
		if got > 0 {
			c.touch()
		}
		c.m.mu.Lock()
		c.reading = false
		n += got
		c.more, c.readErr = got == want, err
	} else if c.off == c.n && c.raw == nil {
		c.more = false
	}
	if c.closed {
		c.served.Signal()
		return nil, false
	}
	if n > 0 {
		data = enclose(buf, n, c)
		c.out += uint64(n)
		c.m.stats.out(c.s.name, n)
	}
	switch {
	case c.off < c.n || c.more && c.readErr == nil:
		c.m.bulk.push(c)
	case errors.Is(c.readErr, io.EOF) && c.endInput():
		c.pending = false
		c.served.Signal()
	case c.readErr != nil:
		ended = true
		c.endByTarget()
	default:
		c.pending = false
		c.served.Signal()
	}
	return data, ended
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
	c.broke(c.readErr)
	c.end(to, false)
}
