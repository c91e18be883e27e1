package services

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// idleTicks is into how many steps an idle timeout is cut. An operation then only sets a flag, instead of
// asking the clock (on older ARM a system call) or moving a timer; the price is that a connection ends up
// to one step later than its timeout, never earlier.
const idleTicks = 8

// conn counts against its service until closed, and ends when it was idle, or open, for too long.
type conn struct {
	net.Conn
	target  string
	release func() // gives the service's place back; called once

	idle    *idleTimer  // nil without an idle timeout
	life    *time.Timer // nil without a max_duration
	over    atomic.Pointer[DurationError]
	closing sync.Once
	err     error // of the one Close
}

// newConn wraps a connection that was opened age ago.
func newConn(c net.Conn, s Service, age time.Duration, release func()) *conn {
	w := &conn{Conn: c, target: s.Target(), release: release}
	if s.IdleTimeout > 0 {
		w.idle = &idleTimer{err: &IdleError{Service: s.Name, After: s.IdleTimeout}}
		w.idle.start(s.IdleTimeout, w.expire)
	}
	if s.MaxDuration > 0 {
		w.life = time.AfterFunc(max(s.MaxDuration-age, 0), func() {
			w.over.Store(&DurationError{Service: s.Name, After: s.MaxDuration})
			w.expire()
		})
	}
	return w
}

// Read counts as life when a byte came.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.moved(n, err)
}

// Write counts as life when it returns after a byte left.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.moved(n, err)
}

func (c *conn) moved(n int, err error) error {
	if n > 0 {
		c.Touch()
	}
	if err == nil {
		return nil
	}
	if limit := c.Expired(); limit != nil {
		return limit
	}
	return err
}

// Expired returns the limit of its service that ended the connection, an *IdleError or a *DurationError,
// or nil. It tells also where bytes move through SyscallConn, whose errors do not.
func (c *conn) Expired() error {
	if over := c.over.Load(); over != nil {
		return over
	}
	if c.idle != nil && c.idle.expired.Load() {
		return c.idle.err
	}
	return nil
}

// Target shows where the service led when the connection was made, as the configuration writes it.
func (c *conn) Target() string { return c.target }

// Close closes the connection and frees its place; later calls return the first one's result.
func (c *conn) Close() error {
	if c.idle != nil {
		c.idle.stop()
	}
	if c.life != nil {
		c.life.Stop()
	}
	return c.close()
}

func (c *conn) close() error {
	c.closing.Do(func() {
		c.err = c.Conn.Close()
		c.release()
	})
	return c.err
}

// expire ends a connection at a limit of its service. For TCP that is a reset: after an orderly end the
// target would take what it has read for complete.
func (c *conn) expire() {
	if t, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = c.close()
}

// CloseWrite closes the target's write side. It fails with errors.ErrUnsupported where the
// connection knows no half close.
func (c *conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Touch restarts the idle timeout after bytes moved through SyscallConn.
func (c *conn) Touch() {
	if c.idle != nil {
		c.idle.moved.Store(true)
	}
}

// SyscallConn gives raw access to the socket, or errors.ErrUnsupported where there is none. What is read
// or written that way is no life to the idle timeout: call Touch.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// NetConn returns the connection beneath: to set options, not to move bytes past the idle timeout.
func (c *conn) NetConn() net.Conn { return c.Conn }

// idleTimer looks every step whether anything moved, and expires after idleTicks steps without.
type idleTimer struct {
	moved   atomic.Bool // since the last look
	expired atomic.Bool
	err     *IdleError

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
	quiet   int // steps without a byte
}

func (t *idleTimer) start(timeout time.Duration, expire func()) {
	step := (timeout + idleTicks - 1) / idleTicks // rounded up: never early
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(step, func() {
		if t.tick(step) {
			expire()
		}
	})
}

// tick reports whether this step was the last one.
func (t *idleTimer) tick(step time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	if t.moved.Swap(false) {
		t.quiet = 0
	} else {
		t.quiet++
	}
	if t.quiet < idleTicks {
		t.timer.Reset(step)
		return false
	}
	t.expired.Store(true)
	t.stopped = true
	return true
}

func (t *idleTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.timer.Stop()
}
