package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// kinds are networks, and sockets with the smallest buffers.
var kinds = map[string]func(tb testing.TB) (a, b net.Conn){
	"pipe": networks["pipe"],
	"tcp":  networks["tcp"],
	"unix": networks["unix"],
	"tcp with tiny buffers": func(tb testing.TB) (net.Conn, net.Conn) {
		tb.Helper()
		a, b := networks["tcp"](tb)
		return tiny(a), tiny(b)
	},
	"unix with tiny buffers": func(tb testing.TB) (net.Conn, net.Conn) {
		tb.Helper()
		a, b := networks["unix"](tb)
		return tiny(a), tiny(b)
	},
}

// noise returns n bytes that do not repeat; each seed has its own.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// A reset is an orderly end: what was received before it is written before the target is closed.
func TestWhatWasSentBeforeTheEndIsWritten(t *testing.T) {
	t.Parallel()
	data := noise(900_000, 1) // less than an inbox: the reset is handled while nearly all of it waits
	for kind, sockets := range kinds {
		for _, end := range []string{"CONNECTION_RESET 1 X#1", "STREAM_RESET 1 X", "SESSION_RESET", "STREAM_START 1 X#1", "CONNECTION_START 1 X#1"} {
			t.Run(kind+" "+end, func(t *testing.T) {
				near, to := sockets(t)
				w := wired(t, near)
				w.send("STREAM_START 1 X#1")
				waitFor(t, func() bool { return w.d.attached(1) }) // else a second start could take its target
				for piece := range slices.Chunk(data, 40_000) {
					w.send("DATA 1 X#1 " + string(piece))
				}
				w.send(end)
				read := readAll
				if end == "SESSION_RESET" {
					read = readBroken
				}
				if got := read(t, to); !bytes.Equal(data, got) {
					t.Errorf("%d of %d bytes were written", len(got), len(data))
				}
				_ = to.Close()
			})
		}
	}
}

// The websocket's own end leaves a second for the same.
func TestWhatWasSentBeforeTheWebsocketsEndIsWritten(t *testing.T) {
	data := noise(200_000, 2)
	for kind, sockets := range kinds {
		t.Run(kind, func(t *testing.T) {
			near, to := sockets(t)
			w := wired(t, near)
			w.send("STREAM_START 1 X#1")
			for piece := range slices.Chunk(data, 40_000) {
				w.send("DATA 1 X#1 " + string(piece))
			}
			w.far.out.close()
			if got := readBroken(t, to); !bytes.Equal(data, got) {
				t.Errorf("%d of %d bytes were written", len(got), len(data))
			}
			_ = to.Close()
		})
	}
}

// A target's end comes behind all that it said, and once.
func TestATargetsEndComesBehindItsData(t *testing.T) {
	t.Parallel()
	for kind, sockets := range kinds {
		for _, size := range []int{0, 1, some, some + 1, plainRead, turn, frame.MaxPayload, frame.MaxPayload + 1, 700_000} {
			t.Run(fmt.Sprintf("%s %d", kind, size), func(t *testing.T) {
				near, to := sockets(t)
				w := wired(t, near)
				data := noise(size, 3)
				go func() {
					_, _ = to.Write(data)
					_ = to.Close()
				}()
				w.send("STREAM_START 1 X#1")
				if got := w.dataUntilReset(); !bytes.Equal(data, got) {
					t.Errorf("%d of %d bytes came back before the reset", len(got), len(data))
				}
				// Another start is answered, and nothing stands before that answer.
				w.send("CONNECTION_START 1 X#2")
				if m := w.next(); text(&m) != "CONNECTION_RESET 1 X#2" {
					t.Errorf("behind the reset: %s", text(&m))
				}
			})
		}
	}
}

// The target hears the end of the tunnel's side while it still speaks: what it was sent is not lost to a
// TCP reset, which closing a socket with unread input would cause.
func TestATargetThatSpeaksLosesNothingAtTheEnd(t *testing.T) {
	data := noise(300_000, 4)
	for kind, sockets := range kinds {
		if kind == "pipe" {
			continue // no half close
		}
		t.Run(kind, func(t *testing.T) {
			near, to := sockets(t)
			w := wired(t, near)
			w.send("STREAM_START 1 X#1")
			spoken := make(chan struct{})
			go func() {
				defer close(spoken)
				_, _ = to.Write(make([]byte, 500_000))
			}()
			for piece := range slices.Chunk(data, 40_000) {
				w.send("DATA 1 X#1 " + string(piece))
			}
			w.send("CONNECTION_RESET 1 X#1")
			<-spoken
			if got := readAll(t, to); !bytes.Equal(data, got) {
				t.Errorf("%d of %d bytes were written", len(got), len(data))
			}
			_ = to.Close()
		})
	}
}

// Both sides may end a connection at the same moment: at most one reset is sent, which the judge sees to,
// and nothing remains.
func TestBothSidesEndAtOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"pipe", "tcp", "unix"} {
		t.Run(kind, func(t *testing.T) {
			const rounds = 100
			near, far := make([]net.Conn, rounds), make([]net.Conn, rounds)
			for i := range rounds {
				near[i], far[i] = networks[kind](t)
			}
			w := wired(t, near...)
			go func() {
				for w.in.Next(&frame.Message{}) == nil {
				}
			}()
			for i := range rounds {
				who := fmt.Sprintf("X#%d", i+1)
				if i == 0 {
					w.send("STREAM_START 1 " + who)
				} else {
					w.send("CONNECTION_START 1 " + who)
				}
				_, _ = far[i].Write([]byte("hello")) // the pipe is read: the connection stands
				var both sync.WaitGroup
				both.Go(func() { w.send("DATA 1 "+who+" x", "CONNECTION_RESET 1 "+who) })
				both.Go(func() {
					_, _ = far[i].Write([]byte("bye"))
					_ = far[i].Close()
				})
				both.Wait()
			}
			if n := w.judge.resets(); n > rounds {
				t.Errorf("%d resets for %d connections", n, rounds)
			}
		})
	}
}

// The sender reads a socket with the lock given up. When the connection ends in that moment, its poller must
// not get hold of the socket first and wait there: the sender would wait too, and with it the whole tunnel.
func TestTheSenderNeverWaitsForATarget(t *testing.T) {
	near, to := networks["unix"](t)
	other, beside := networks["unix"](t)
	reads := make(chan struct{}, 100)
	hooked := &hookedConn{UnixConn: near.(*net.UnixConn), reads: reads}
	w := wired(t, hooked, other)
	hooked.mux.Store(w.d.mux)
	hooked.before = func() {
		for len(reads) > 0 {
			<-reads
		}
		w.send("CONNECTION_RESET 1 X#1")
		w.send("CONNECTION_START 1 X#2")
		waitFor(t, func() bool { // both were handled
			w.d.mu.Lock()
			defer w.d.mu.Unlock()
			return w.d.streams["X"].conns[1] == nil && w.d.streams["X"].conns[2] != nil
		})
		maybe(func() bool { return len(reads) > 0 })
	}
	w.send("STREAM_START 1 X#1")
	_, _ = to.Write(make([]byte, some))
	_, _ = beside.Write([]byte("through"))
	done := make(chan string)
	go func() {
		m := w.next() // nothing of a connection that has ended
		done <- text(&m)
	}()
	got := within(t, done, lingerTimeout/2)
	if got != "DATA 1 X#2 through" {
		t.Errorf("got %q", got)
	}
	_ = to.Close()
	_ = beside.Close()
}
