package stream

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// prober is a Transport that answers probes: at once, or when it is told to.
type prober struct {
	*end
	passed func(probe uint64)

	mu     sync.Mutex
	held   bool
	latest uint64
	bytes  int
}

func (p *prober) OnProbe(f func(probe uint64)) { p.passed = f }

func (p *prober) WriteBuffers(bufs ...[]byte) error { return p.WriteProbe(0, bufs...) }

func (p *prober) WriteProbe(probe uint64, bufs ...[]byte) error {
	p.mu.Lock()
	for _, b := range bufs {
		p.bytes += len(b)
	}
	held := p.held
	p.latest = max(p.latest, probe)
	p.mu.Unlock()
	if err := p.out.write(bufs...); err != nil {
		return err
	}
	if probe != 0 && !held {
		p.passed(probe)
	}
	return nil
}

func (p *prober) hold(held bool) (latest uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
	return p.latest
}

func (p *prober) written() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// serveProber starts a Destination on p with one connection, and returns the target's far end.
func serveProber(t *testing.T, network string) (p *prober, d *Destination, target net.Conn, far *end) {
	t.Helper()
	near, far := newPair()
	p = &prober{end: near}
	targets := make(chan net.Conn, 8)
	d = NewDestination(DestinationConfig{Config: Config{Transport: p}})
	d.dialFunc = func(context.Context, string) (net.Conn, error) {
		a, b := networks[network](t)
		targets <- b
		return a, nil
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = d.Serve()
	}()
	_, _ = far.Write(frames("STREAM_START 1 SSH#1"))
	target = <-targets
	t.Cleanup(func() {
		_ = target.Close()
		_ = far.Close(closeNormal, "")
		<-served
	})
	return p, d, target, far
}

func TestCarryingWithAWindowAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	_, d, target, far := serveProber(t, "tcp")
	c := &carrier{tb: t, far: far, target: target, in: frame.NewReader(far)}
	c.up(2000*30_000, 128<<10)
	before := mallocs()
	count := c.up(2000*30_000, 128<<10)
	if per := float64(mallocs()-before) / float64(count); per > 0.05 {
		t.Errorf("%.3f allocations a frame over %d frames", per, count)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pace.window.open() || d.pace.window.next < 100 {
		t.Errorf("window %d, %d probes", d.pace.window.size, d.pace.window.next)
	}
}

// While the far side takes nothing, bulk stops at the window and typing does not, and both go on with the next answer.
func TestBulkWaitsForTheWindowAndTypingDoesNot(t *testing.T) {
	p, d, target, far := serveProber(t, "tcp")
	in := frame.NewReader(far)
	var msg frame.Message
	next := func() {
		t.Helper()
		if err := in.Next(&msg); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = target.Write([]byte("x")) // the service answers: there is a window
	next()
	p.hold(true)
	go func() { _, _ = target.Write(make([]byte, 8<<20)) }()
	waiting := func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.pace.window.limited && d.sched.bulk.n == 1 }
	waitFor(t, waiting)
	stopped := p.written()
	if stopped > 2*firstWindow {
		t.Errorf("%d bytes are on their way with a window of %d", stopped, firstWindow)
	}
	typed := make(chan net.Conn, 1)
	d.mu.Lock()
	d.dialFunc = func(context.Context, string) (net.Conn, error) {
		a, b := networks["tcp"](t)
		typed <- b
		return a, nil
	}
	d.mu.Unlock()
	_, _ = far.Write(frames("CONNECTION_START 1 SSH#2"))
	keys := <-typed
	defer keys.Close()
	_, _ = keys.Write([]byte("k"))
	for next(); msg.ConnectionID != 2; {
		next()
	}
	if p.written() > stopped+100 {
		t.Errorf("bulk went on: %d bytes, then %d", stopped, p.written())
	}
	p.passed(p.hold(false))
	for got := 0; got < 1<<20; got += len(msg.Payload) {
		next()
	}
}

// An application that waits for a window whose answers have stopped waits for a bounded time.
func TestBulkGoesOnWhenAnswersStop(t *testing.T) {
	t.Parallel()
	p, d, target, far := serveProber(t, "tcp")
	_, _ = target.Write([]byte("x"))
	waitFor(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return !d.pace.window.open() })
	p.hold(true)
	go func() { _, _ = target.Write(make([]byte, 4<<20)) }()
	in, start := frame.NewReader(far), time.Now()
	var msg frame.Message
	for got := 0; got < 4<<20; got += len(msg.Payload) {
		if err := in.Next(&msg); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(start); d < patience/2 {
		t.Errorf("it did not wait at all: %v", d)
	}
}
