package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// wire plays the source and the relay to a Destination whose targets are real sockets: outside of bubbles,
// it waits for what must come.
type wire struct {
	t      *testing.T
	d      *Destination
	far    *end
	judge  *judge
	in     *frame.Reader
	served chan error
}

// wired starts a Destination that hands out the given targets, one a connection, whatever the service.
func wired(t *testing.T, targets ...net.Conn) *wire {
	t.Helper()
	return wiredWith(t, nil, targets...)
}

func wiredWith(t *testing.T, memory *Budget, targets ...net.Conn) *wire {
	t.Helper()
	near, far := newPair()
	w := &wire{t: t, far: far, judge: judged(t, near, false), in: frame.NewReader(far), served: make(chan error, 1)}
	next := make(chan net.Conn, len(targets))
	for _, to := range targets {
		next <- to
	}
	w.d = NewDestination(DestinationConfig{
		Config: Config{Transport: w.judge, Budget: memory},
		Dial: func(context.Context, string) (net.Conn, error) {
			select {
			case to := <-next:
				return to, nil
			default:
				return nil, errors.New("no more targets")
			}
		},
		DefaultService: func([]string) (string, error) { return "X", nil },
	})
	go func() { w.served <- w.d.Serve() }()
	t.Cleanup(func() {
		_ = far.Close(closeNormal, "")
		if err := <-w.served; err == nil {
			t.Error("it ended without saying why")
		}
		checkEmpty(t, w.d.mux)
	})
	return w
}

func (w *wire) send(messages ...string) {
	w.t.Helper()
	if _, err := w.far.Write(frames(messages...)); err != nil {
		w.t.Errorf("send: %v", err)
	}
}

// next returns the next message that came back.
func (w *wire) next() frame.Message {
	w.t.Helper()
	var m frame.Message
	if err := w.in.Next(&m); err != nil {
		w.t.Fatalf("read: %v", err)
	}
	m.Payload = bytes.Clone(m.Payload)
	return m
}

// dataUntilReset returns what one connection sends until its reset.
func (w *wire) dataUntilReset() []byte {
	w.t.Helper()
	var all []byte
	for {
		m := w.next()
		if m.Type != frame.Data {
			return all
		}
		all = append(all, m.Payload...)
	}
}

// some is a piece that is no keystroke and much less than a frame.
const some = 512

// tiny gives a socket small buffers. With a smaller one for reading TCP waits for its timers.
func tiny(c net.Conn) net.Conn {
	if s, ok := c.(interface {
		SetReadBuffer(n int) error
		SetWriteBuffer(n int) error
	}); ok {
		_ = s.SetReadBuffer(64 << 10)
		_ = s.SetWriteBuffer(1)
	}
	return c
}

// readAll reads to a clean end.
func readAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("after %d bytes: %v", len(b), err)
	}
	return b
}

// hookedConn tells of each use for reading, and, once armed, calls before ahead of the first that is the sender's.
// The others are the poller's.
type hookedConn struct {
	*net.UnixConn
	reads  chan struct{}
	before func()
	mux    atomic.Pointer[mux] // arms it
}

func (c *hookedConn) sender() bool {
	m := c.mux.Load()
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for a := range m.conns {
		if a.target == net.Conn(c) && a.reading {
			c.mux.Store(nil)
			return true
		}
	}
	return false
}

func (c *hookedConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.UnixConn.SyscallConn()
	return hookedRaw{raw, c}, err
}

type hookedRaw struct {
	syscall.RawConn
	c *hookedConn
}

func (r hookedRaw) Read(f func(fd uintptr) bool) error {
	select {
	case r.c.reads <- struct{}{}:
	default:
	}
	if r.c.sender() {
		r.c.before()
	}
	return r.RawConn.Read(f)
}

// waitFor waits for a condition that must come true.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	if !poll(10*time.Second, condition) {
		t.Error("waited for nothing")
	}
}

// maybe gives a condition that should not come true a chance to.
func maybe(condition func() bool) { poll(50*time.Millisecond, condition) }

func poll(limit time.Duration, condition func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !condition(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// within returns what arrives in time.
func within(t *testing.T, from <-chan string, limit time.Duration) string {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case s := <-from:
		return s
	case <-timer.C:
		t.Errorf("nothing within %v", limit)
		return <-from
	}
}
