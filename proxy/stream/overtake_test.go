package stream

import (
	"net"
	"testing"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// The sender reads sockets with the lock given up, in the midst of building a message. What begins in that
// moment is not in the message: its start, or the reset of what it replaces, waits for the next one.
//
// For this to happen a message must have turns left: connection 1 of these tests sends without end, and
// connection 2, which says a little, has the turn before it. While 2 is read, 3 begins and is ready at once.

// endless writes to a connection until it is closed.
func endless(c net.Conn) {
	b := make([]byte, 8*turn)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// awaitCalm waits until the sender is blocked, connection 1 has more to send, and nothing is owed to it.
func awaitCalm(t *testing.T, m *mux, back *link) {
	t.Helper()
	waitFor(t, func() bool {
		if !back.full() {
			return false
		}
		m.mu.Lock()
		calm := m.sched.bulk.n == 1 && m.sched.fresh.n == 0 && !m.sched.bulkDue
		m.mu.Unlock()
		if !calm {
			back.take() // whole frames: once more
		}
		return calm
	})
}

// sockets returns the near and the far ends of Unix sockets.
func sockets(t *testing.T, n int) (near, far []net.Conn) {
	t.Helper()
	for range n {
		a, b := networks["unix"](t)
		near, far = append(near, a), append(far, b)
	}
	return near, far
}

// firstOf reads until a message is about a connection, and returns it.
func firstOf(t *testing.T, in *frame.Reader, connection uint32) string {
	t.Helper()
	for m := (frame.Message{}); ; {
		if err := in.Next(&m); err != nil {
			t.Fatal(err)
		}
		if m.ConnectionID == connection {
			m.StreamID = 1
			return text(&m)
		}
	}
}

func TestDataDoesNotOvertakeItsStart(t *testing.T) {
	link, far := newPair()
	s := NewSource(SourceConfig{Config: Config{Transport: judged(t, link, true)}, Form: V3})
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve() }()
	near, clients := sockets(t, 3)
	hooked := &hookedConn{UnixConn: near[1].(*net.UnixConn), reads: make(chan struct{}, 100)}
	hooked.before = func() {
		_, _ = clients[2].Write([]byte("first words"))
		if err := s.Open("SSH", near[2]); err != nil {
			t.Error(err)
		}
		waitFor(t, func() bool { fresh, _ := s.waiting(); return fresh == 1 })
	}
	for _, c := range []net.Conn{near[0], hooked} {
		if err := s.Open("SSH", c); err != nil {
			t.Fatal(err)
		}
	}
	go endless(clients[0])
	awaitCalm(t, s.mux, far.in)
	hooked.mux.Store(s.mux)
	_, _ = clients[1].Write(make([]byte, some))
	waitFor(t, func() bool { fresh, _ := s.waiting(); return fresh == 1 })
	if got := firstOf(t, frame.NewReader(far), 3); got != "CONNECTION_START 1 SSH#3" {
		t.Errorf("connection 3 begins with %s", got)
	}
	for _, c := range clients {
		_ = c.Close()
	}
	_ = far.Close(closeNormal, "")
	<-served
}

func TestDataDoesNotOvertakeTheResetOfWhatWasBefore(t *testing.T) {
	near, to := sockets(t, 4)
	hooked := &hookedConn{UnixConn: near[1].(*net.UnixConn), reads: make(chan struct{}, 100)}
	w := wired(t, near[0], hooked, near[2], near[3])
	hooked.before = func() {
		_, _ = to[3].Write([]byte("new"))
		w.send("CONNECTION_START 1 X#3", "CONNECTION_START 1 X#3") // the first of these is one too many
		waitFor(t, func() bool { fresh, _ := w.d.waiting(); return fresh == 1 })
	}
	for i, start := range []string{"STREAM_START 1 X#1", "CONNECTION_START 1 X#2", "CONNECTION_START 1 X#3"} {
		w.send(start)
		waitFor(t, func() bool { return w.d.attached(i + 1) })
	}
	go endless(to[0])
	awaitCalm(t, w.d.mux, w.far.in)
	hooked.mux.Store(w.d.mux)
	_, _ = to[1].Write(make([]byte, some))
	waitFor(t, func() bool { fresh, _ := w.d.waiting(); return fresh == 1 })
	if got := firstOf(t, w.in, 3); got != "CONNECTION_RESET 1 X#3" {
		t.Errorf("connection 3 says %s before the reset of what it was", got)
	}
	if got := firstOf(t, w.in, 3); got != "DATA 1 X#3 new" {
		t.Errorf("connection 3 begins with %s", got)
	}
	for _, c := range to {
		_ = c.Close()
	}
}
