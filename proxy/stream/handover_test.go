//go:build unix

package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/proxy/resume"
	"github.com/culvert-iot/culvert/test/harness"
)

// duplicate returns another descriptor of a socket, as another process would have it.
func duplicate(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || fd < 0 {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "target")
	defer f.Close()
	other, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// loopback returns both ends of a TCP connection.
func loopback(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	a, b, err := harness.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// A daemon that is replaced gives its connections to the next one: the applications see nothing of it, wherever they are
// in what they say, and also if one of them takes nothing for now.
func TestAnotherProcessGoesOnWithConnections(t *testing.T) {
	for name, stalled := range map[string]bool{"both talk": false, "the target takes nothing": true} {
		t.Run(name, func(t *testing.T) {
			target, server := loopback(t)
			client, local := loopback(t)
			defer server.Close()
			defer client.Close()
			r := newRig(t, func() (net.Conn, error) { return target, nil })
			r.link(-1, -1)
			start := time.Now()
			if err := r.source.Open("X", local); err != nil {
				t.Fatal(err)
			}
			question, answer := noise(3<<20, 1), noise(3<<20, 2)
			half := make(chan struct{})
			heard := make(chan []byte, 2)
			say := func(c *net.TCPConn, p []byte) {
				_, _ = c.Write(p[:len(p)/2])
				<-half
				_, _ = c.Write(p[len(p)/2:])
				_ = c.CloseWrite()
			}
			hear := func(c *net.TCPConn, wait <-chan struct{}) {
				<-wait
				p, err := io.ReadAll(c)
				if err != nil {
					t.Errorf("heard %d bytes: %v", len(p), err)
				}
				heard <- p
			}
			now := make(chan struct{})
			close(now)
			go say(client, question)
			go say(server, answer)
			go hear(client, now)
			if stalled {
				go hear(server, half)
			} else {
				go hear(server, now)
			}
			// Until something is under way in each direction.
			moving := func() bool {
				r.far.Lock()
				defer r.far.Unlock()
				for c := range r.destination.conns {
					if c.out > 1<<19 && (c.in > 1<<19 || stalled && c.in > 0) {
						return true
					}
				}
				return false
			}
			for until := time.Now().Add(10 * time.Second); !moving(); {
				if time.Now().After(until) {
					t.Fatal("nothing moves")
				}
				time.Sleep(time.Millisecond)
			}

			first := r.far
			first.Lock()
			first.HandOver = true
			first.Unlock()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			r.destination.Shutdown(ctx)
			cancel()
			r.cut()
			next := resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
			var saved []Saved
			var sockets []net.Conn
			if n := HandOver(first, func(v Saved, c net.Conn) error {
				saved, sockets = append(saved, v), append(sockets, duplicate(t, c))
				return nil
			}); n != 1 {
				t.Fatalf("%d connections were handed over: %+v", n, first.Stats())
			}
			first.Ending.Wait()
			if n := first.Memory.Used(); n != 0 {
				t.Errorf("%d bytes are kept by the first process", n)
			}
			if err := sockets[0].(*net.TCPConn).SetLinger(-1); err != nil {
				t.Fatal(err)
			}
			if err := TakeOver(next, saved[0], sockets[0], r.observe, nil); err != nil {
				t.Fatal(err)
			}
			r.far = next
			r.link(-1, -1)
			close(half)
			a, b := <-heard, <-heard
			if len(a) > 0 && a[0] == answer[0] && bytes.Equal(a, answer) {
				a, b = b, a
			}
			if !bytes.Equal(a, question) || !bytes.Equal(b, answer) {
				t.Errorf("heard %d and %d bytes of %d", len(a), len(b), len(question))
			}

			r.cut()
			stop(next)
			var in, out uint64
			resumed, open := 0, time.Duration(0)
			for _, c := range r.closed {
				in, out, resumed, open = in+c.BytesIn, out+c.BytesOut, resumed+c.Resumed, open+c.Duration
			}
			if len(r.closed) != 2 || r.closed[0].Reason != HandedOver {
				t.Errorf("the owner is told %+v", r.closed)
			}
			if in != uint64(len(question)) || out != uint64(len(answer)) || resumed != 1 || open > time.Since(start) {
				t.Errorf("the owner's sums are %d and %d bytes of %d, resumed %d times, open for %v", in, out, len(question), resumed, open)
			}
		})
	}
}

// stillSocket is a target on which nothing moves. It has no descriptor of the system, which would stop the test's clock.
type stillSocket struct {
	net.Conn

	closing sync.Once
	closed  chan struct{}
}

func newStillSocket() *stillSocket {
	near, _ := net.Pipe()
	return &stillSocket{Conn: near, closed: make(chan struct{})}
}

func (s *stillSocket) SyscallConn() (syscall.RawConn, error) { return stillRaw{s.closed}, nil }

func (s *stillSocket) Close() error {
	s.closing.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

type stillRaw struct{ closed <-chan struct{} }

func (r stillRaw) Read(func(uintptr) bool) error {
	<-r.closed
	return net.ErrClosed
}
func (stillRaw) Write(func(uintptr) bool) error { return nil }
func (stillRaw) Control(func(uintptr)) error    { return nil }

// A source that has not said the mark may not know that it has a connection: the next process waits for it no longer than
// the first one would have. A state that does not say is of a process that did not know of that.
func TestAConnectionWithoutAMarkIsNotKeptForLongByTheNextProcess(t *testing.T) {
	for name, tt := range map[string]struct {
		marked bool
		forget bool // the state is one of an earlier version
		want   time.Duration
	}{
		"without a mark":                        {want: greetWait},
		"with a mark":                           {marked: true, want: resume.DefaultWindow},
		"without a mark, of an earlier version": {forget: true, want: resume.DefaultWindow},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newLostConnection(t, tt.marked)
				next := resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
				target := newStillSocket()
				n := HandOver(r.far, func(v Saved, _ net.Conn) error {
					state, err := json.Marshal(v)
					if err != nil {
						return err
					}
					if tt.forget {
						state = bytes.Replace(state, []byte(`"Unmarked":true`), []byte(`"Unheard":true`), 1)
					}
					v = Saved{}
					return errors.Join(json.Unmarshal(state, &v), TakeOver(next, v, target, nil, nil))
				})
				if n != 1 {
					t.Fatalf("%d connections were handed over", n)
				}
				began := time.Now()
				<-target.closed
				if waited := time.Since(began); waited != tt.want {
					t.Errorf("it waited for %v, want %v", waited, tt.want)
				}
				stop(next)
			})
		})
	}
}

// Each process's line counts how long a connection waited there: until it has returned, until it is handed over, or in vain.
func TestEachProcessCountsTheWaitThatItHasSeen(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(*rig)
		want time.Duration
	}{
		"until the hand-over": {func(r *rig) {
			time.Sleep(5 * time.Minute)
			HandOver(r.far, func(Saved, net.Conn) error { return nil })
		}, 5 * time.Minute},
		"in vain": {func(*rig) { time.Sleep(time.Hour) }, resume.DefaultWindow},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newLostConnection(t, true)
				tt.end(r)
				synctest.Wait()
				r.opened.Lock()
				defer r.opened.Unlock()
				if len(r.closed) != 1 || r.closed[0].Detached != tt.want {
					t.Errorf("%+v were closed, want one that had waited for %v", r.closed, tt.want)
				}
			})
		})
	}
}

// newLostConnection is a rig whose destination has a connection that has just lost its websocket, with a mark from the source
// or without one.
func newLostConnection(t *testing.T, marked bool) *rig {
	t.Helper()
	r := newRig(t, func() (net.Conn, error) { return newStillSocket(), nil })
	near, far := newPair()
	r.ends = []*end{near, far}
	r.serveDestination(near)
	r.serving.Go(func() { _, _ = io.Copy(io.Discard, far) })
	source := &rawRecords{t: t, stream: offeringID(false), far: far}
	source.send(source.start(), nil)
	synctest.Wait()
	if marked {
		source.send(source.conn, nil)
	}
	synctest.Wait()
	r.cut()
	return r
}

func TestAStateThatMakesNoSenseIsNotTakenOver(t *testing.T) {
	registry := resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
	good := resume.New(registry.Memory)
	good.Open(resume.NewID(), resume.Address{})
	good.Fill(make([]byte, 1), []byte("hello"), good.Sum([]byte("hello")))
	good.Detach()
	for name, bend := range map[string]func(*resume.Saved){
		"another version":              func(v *resume.Saved) { v.Version++ },
		"no identity":                  func(v *resume.Saved) { v.ID = resume.ID{} },
		"replay is too short":          func(v *resume.Saved) { v.Replay = v.Replay[1:] },
		"more taken than came":         func(v *resume.Saved) { v.Taken = v.Received + 1 },
		"confirmed more than was sent": func(v *resume.Saved) { v.Acked = v.Sent + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			v := good.Save()
			bend(&v)
			near, far := loopback(t)
			defer near.Close()
			defer far.Close()
			if err := TakeOver(registry, Saved{Service: "X", Stream: v}, near, nil, nil); err == nil {
				t.Error("it was taken over")
			}
		})
	}
}
