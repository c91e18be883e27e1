package stream

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// link is one direction of a pair of Transports in memory. What is written at one end is read at the other
// in pieces of any size, as a relay would re-cut it. A full link blocks its writer.
type link struct {
	mu     sync.Mutex
	moved  sync.Cond
	b      []byte // unread
	store  []byte // b's backing, empty, used again
	limit  int
	closed bool
	failed error // what writes return from now on
	cut    *rand.Rand
}

func newLink(limit int) *link {
	l := &link{limit: limit, cut: rand.New(rand.NewPCG(7, 7))}
	l.moved.L = &l.mu
	return l
}

func (l *link) read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.b) == 0 && !l.closed {
		l.moved.Wait()
	}
	if len(l.b) == 0 {
		return 0, io.EOF
	}
	n := min(len(l.b), len(p))
	if l.cut.IntN(4) == 0 {
		n = 1 + l.cut.IntN(n)
	}
	copy(p, l.b[:n])
	l.b = l.b[n:]
	l.moved.Broadcast()
	return n, nil
}

func (l *link) write(bufs ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.b) >= l.limit && !l.closed && l.failed == nil {
		l.moved.Wait()
	}
	switch {
	case l.failed != nil:
		return l.failed
	case l.closed:
		return net.ErrClosed
	}
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	if size > cap(l.b)-len(l.b) {
		if len(l.b)+size > cap(l.store) {
			l.store = make([]byte, 0, 2*(len(l.b)+size))
		}
		l.b = append(l.store, l.b...) // to its begin
	}
	for _, b := range bufs {
		l.b = append(l.b, b...)
	}
	l.moved.Broadcast()
	return nil
}

// take returns all that is there now.
func (l *link) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := append([]byte(nil), l.b...)
	l.b = nil
	l.moved.Broadcast()
	return b
}

// stop makes the link full until further notice, or as it was again.
func (l *link) stop(full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = 256 << 10
	if full {
		l.limit = 0
	}
	l.moved.Broadcast()
}

// full reports whether a writer has to wait.
func (l *link) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.b) >= l.limit
}

// fail makes writes fail while reads go on.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	l.moved.Broadcast()
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.moved.Broadcast()
}

// end is one end of a pair of links: a Transport.
type end struct {
	in, out *link

	mu   sync.Mutex
	code int // of the first Close
}

func (e *end) Read(p []byte) (int, error)     { return e.in.read(p) }
func (e *end) WriteBuffers(b ...[]byte) error { return e.out.write(b...) }
func (e *end) Write(p []byte) (int, error)    { return len(p), e.out.write(p) }

func (e *end) Close(code int, _ string) error {
	e.mu.Lock()
	if e.code == 0 {
		e.code = code
	}
	e.mu.Unlock()
	e.in.close()
	e.out.close()
	return nil
}

func (e *end) closeCode() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.code
}

func newPair() (a, b *end) {
	x, y := newLink(256<<10), newLink(256<<10)
	return &end{in: x, out: y}, &end{in: y, out: x}
}

// networks are the kinds of local socket that every carrying test runs over: pipes have no descriptor and
// take the plain way, TCP and Unix sockets are read by the sender itself.
var networks = map[string]func(tb testing.TB) (a, b net.Conn){
	"pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
	"tcp":  func(tb testing.TB) (net.Conn, net.Conn) { tb.Helper(); return socketPair(tb, "tcp", "127.0.0.1:0") },
	"unix": unixPair,
}

func socketPair(tb testing.TB, network, address string) (a, b net.Conn) {
	tb.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial(network, l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	return a, b
}
