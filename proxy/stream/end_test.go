package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// halfPipe is a pipe that knows a half close, as TCP and Unix sockets do: the far side's Read then ends.
type halfPipe struct {
	net.Conn
	w    *io.PipeWriter
	once sync.Once
}

// newHalfPipe returns the target's near end, what the target reads, and the end that it writes to.
func newHalfPipe() (near *halfPipe, toTarget *io.PipeReader, fromTarget net.Conn) {
	a, b := net.Pipe()
	r, w := io.Pipe()
	return &halfPipe{Conn: a, w: w}, r, b
}

func (p *halfPipe) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p *halfPipe) CloseWrite() error           { return p.w.Close() }

func (p *halfPipe) Close() error {
	p.once.Do(func() { _ = p.w.CloseWithError(net.ErrClosed) })
	return p.Conn.Close()
}

// since tells when something ends, as seen from now.
func since(f func()) <-chan time.Duration {
	begin := time.Now()
	done := make(chan time.Duration, 1)
	go func() {
		f()
		done <- time.Since(begin)
	}()
	return done
}

func TestDrainingTakesTenSecondsAtMost(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"CONNECTION_RESET 1 DEAF#1", "STREAM_RESET 1 DEAF", "SESSION_RESET", "STREAM_START 2 DEAF#1", "STREAM_START 1 ECHO"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 1 DEAF#1", "DATA 1 DEAF#1 never read")
				to := s.target("DEAF", 0)
				time.Sleep(time.Minute)
				s.send(end)
				synctest.Wait()
				if d := <-since(chatter(to)); d < drainTimeout || d > drainTimeout+time.Millisecond {
					t.Errorf("closed after %v, want %v", d, drainTimeout)
				}
				s.expect("the end of a connection that the peer ended")
				_ = s.end()
			})
		})
	}
}

// It is the target that stops taking which ends it: one that is slow gets everything.
func TestDrainingLastsAsLongAsTheTargetTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 DEAF#1")
		sent := s.fill("DEAF#1", 500_000)
		s.send("CONNECTION_RESET 1 DEAF#1")
		to := s.target("DEAF", 0)
		got := 0
		for b := make([]byte, 5000); ; {
			time.Sleep(drainTimeout * 3 / 4)
			n, err := to.Read(b)
			if got += n; err != nil {
				break
			}
		}
		if got != sent {
			t.Errorf("%d of %d bytes were written", got, sent)
		}
		_ = s.end()
	})
}

// chatter sends useless bytes now and then, until a write fails.
func chatter(to io.Writer) func() {
	return func() {
		for {
			if _, err := to.Write([]byte("blah")); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestLingeringTakesTwoSecondsAtMost(t *testing.T) {
	const exit = 300 * time.Millisecond
	for _, c := range []struct {
		name  string
		after time.Duration // when the target closes; 0 never
		want  time.Duration
	}{
		{"a target that closes", exit, exit},
		{"a target that does not close", 0, lingerTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, reads, writes := newHalfPipe()
				s := playTo(t, near)
				s.send("STREAM_START 1 X#1", "DATA 1 X#1 last words")
				got, silent := make(chan string, 1), make(chan struct{})
				go func() {
					defer close(silent)
					b, _ := io.ReadAll(reads)
					got <- string(b)
					if c.after > 0 {
						time.Sleep(c.after)
						_ = writes.Close()
					} else {
						chatter(writes)()
					}
				}()
				synctest.Wait()
				s.send("CONNECTION_RESET 1 X#1")
				if d := <-since(untilGone(s.d.mux)); d != c.want {
					t.Errorf("closed after %v, want %v", d, c.want)
				}
				if g := <-got; g != "last words" {
					t.Errorf("the target read %q", g)
				}
				<-silent
				s.expect("the end")
				_ = s.end()
			})
		})
	}
}

// untilGone waits for the end of all connections.
func untilGone(m *mux) func() {
	return func() { m.wg.Wait() }
}

// playTo starts a script whose only target is near.
func playTo(t *testing.T, near net.Conn) *script {
	t.Helper()
	s := play(t, "")
	s.only = near
	return s
}

func TestATargetThatCloses(t *testing.T) {
	for name, ends := range map[string]func(to net.Conn, s *script){
		"at once": func(to net.Conn, _ *script) { _ = to.Close() },
		"with its inbox full": func(to net.Conn, s *script) {
			go s.fill("DEAF#1", 3<<20) // holds up the reader
			synctest.Wait()
			if n := s.queued(); n < inboxLimit*8/10 {
				s.t.Errorf("only %d bytes wait", n)
			}
			_ = to.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 1 DEAF#1")
				begin := time.Now()
				ends(s.target("DEAF", 0), s)
				s.expect("a target's end", "CONNECTION_RESET 1 DEAF#1")
				if d := time.Since(begin); d != 0 {
					t.Errorf("it took %v", d)
				}
				s.alive(V3)
				_ = s.end()
			})
		})
	}
}

// What a target says last goes before its reset; what it was sent last is written, though it closed.
func TestATargetsLastWords(t *testing.T) {
	for _, form := range []Form{V1, V2, V3, {Connection: true}} {
		t.Run(form.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				who := map[Form]string{V1: "-", V2: "DEAF", V3: "DEAF#1", {Connection: true}: "#1"}[form]
				reset := "STREAM_RESET 1 "
				if form.Connection {
					reset = "CONNECTION_RESET 1 "
				}
				s := play(t, "DEAF")
				s.send("STREAM_START 1 " + who)
				to := s.target("DEAF", 0)
				go func() {
					_, _ = io.WriteString(to, "exit 0")
					_ = to.Close()
				}()
				s.expect("last words", "DATA 1 "+who+" exit 0", reset+who)
				s.send("DATA 1 "+who+" late", reset+who, "STREAM_RESET 1 "+strings.TrimSuffix(who, "#1"))
				s.expect("what crossed the reset")
				_ = s.end()
			})
		})
	}
}

// Serve's end closes everything within endGrace, whatever state it is in.
func TestTheEndOfTheWebsocketEndsAll(t *testing.T) {
	broken := errors.New("broken pipe")
	for _, c := range []struct {
		name  string
		end   func(s *script)
		want  error
		limit time.Duration
	}{
		{"transport ends", func(s *script) { _ = s.far.Close(closeNormal, "") }, io.EOF, endGrace},
		{"writes fail while reads go on", func(s *script) { s.far.in.fail(broken); s.send("STREAM_START 1 NONE#1") }, broken, readGrace + endGrace},
		{"writes fail and the reader learns why", func(s *script) {
			s.far.in.fail(broken)
			s.send("STREAM_START 1 NONE#1")
			synctest.Wait()
			time.Sleep(readGrace / 2)
			_ = s.far.Close(closeNormal, "")
		}, io.EOF, readGrace/2 + endGrace},
		{"writes fail while the reader waits for the sender", func(s *script) {
			s.far.in.stop(true)
			go func() {
				for range 4 * controlHigh / 20 {
					_, _ = s.far.Write(frames("CONNECTION_START 1 ECHO#1"))
				}
			}()
			synctest.Wait()
			s.far.in.fail(broken)
		}, broken, readGrace + endGrace},
		{"writes fail while the reader waits for a target", func(s *script) {
			go func() {
				for range 100 {
					_, _ = s.far.Write(frames("DATA 7 DEAF#1 " + full))
				}
			}()
			synctest.Wait()
			s.far.in.fail(broken)
			m := s.d.mux
			m.mu.Lock()
			m.tell(message("STREAM_RESET 7 ECHO"))
			m.mu.Unlock()
		}, broken, readGrace + endGrace},
		{"a protocol error while a write is under way", func(s *script) {
			s.far.in.stop(true)
			s.send("STREAM_START 1 ECHO#1", "DATA 1 ECHO#1 x")
			synctest.Wait()
			s.send("TYPE_99 0 -")
		}, &ProtocolError{"message of unknown type TYPE_99"}, endGrace},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 7 DEAF#1", "CONNECTION_START 7 DEAF#2", "STREAM_START 7 ECHO#1", "STREAM_START 7 SLOW#1", "CONNECTION_START 7 SLOW#2")
				s.send("DATA 7 DEAF#1 x", "DATA 7 DEAF#2 y", "CONNECTION_RESET 7 DEAF#2", "DATA 7 SLOW#2 x", "CONNECTION_RESET 7 SLOW#2")
				synctest.Wait()
				s.far.in.take()
				begin := time.Now()
				c.end(s)
				err := <-s.served
				if d := time.Since(begin); d > c.limit {
					t.Errorf("it took %v, at most %v", d, c.limit)
				}
				var violation, wanted *ProtocolError
				if errors.As(c.want, &wanted) {
					if !errors.As(err, &violation) || *violation != *wanted {
						t.Errorf("Serve: %v, want %v", err, c.want)
					}
				} else if !errors.Is(err, c.want) {
					t.Errorf("Serve: %v, want %v", err, c.want)
				}
				s.served <- err
				_ = s.end()
			})
		})
	}
}

// A target of real sockets that shuts its reading side takes nothing more, but may still speak.
func TestAHalfDeadTargetIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	near, to := networks["unix"](t)
	w := wired(t, near)
	w.send("STREAM_START 1 X#1")
	for range 15 {
		w.send("DATA 1 X#1 " + full)
	}
	queued := func() int {
		w.d.mu.Lock()
		defer w.d.mu.Unlock()
		return w.d.backlog.queued
	}
	waitFor(t, func() bool { return queued() > inboxLimit/2 })
	if err := to.(*net.UnixConn).CloseRead(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return queued() == 0 })
	for range 50 { // it holds up no other connection
		w.send("DATA 1 X#1 " + full)
	}
	w.send("CONNECTION_START 1 X#2")
	if m := w.next(); text(&m) != "CONNECTION_RESET 1 X#2" {
		t.Errorf("got %s", text(&m))
	}
	if n := queued(); n != 0 {
		t.Errorf("%d bytes are kept for a target that takes nothing", n)
	}
	said := bytes.Repeat([]byte("still here. "), 50_000)
	go func() {
		_, _ = to.Write(said)
		_ = to.Close()
	}()
	if got := w.dataUntilReset(); !bytes.Equal(said, got) {
		t.Errorf("%d of %d bytes came back", len(got), len(said))
	}
}

// brokenConn's Read fails at once; its Write blocks.
type brokenConn struct{ net.Conn }

func (brokenConn) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

// A target that failed is not waited for.
func TestATargetThatFailsIsClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := play(t, "")
		s.only = brokenConn{a}
		s.send("STREAM_START 1 X#1", "DATA 1 X#1 never read")
		synctest.Wait()
		if d := <-since(untilGone(s.d.mux)); d != 0 {
			t.Errorf("closed after %v", d)
		}
		s.expect("a failure", "CONNECTION_RESET 1 X#1")
		if _, err := b.Write([]byte("x")); err == nil {
			t.Error("the target is still open")
		}
		_ = s.end()
	})
}

// When nothing can be sent any more, answers are not kept.
func TestAnswersThatCannotBeSentAreNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.far.in.fail(errors.New("broken pipe"))
		for i := range 10_000 {
			s.send(fmt.Sprintf("CONNECTION_START 1 NONE#%d", i+1))
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		s.d.mu.Lock()
		if n := len(s.d.control) + len(s.d.spare); n > 0 {
			t.Errorf("%d bytes of answers are kept", n)
		}
		s.d.mu.Unlock()
		_ = s.end()
	})
}
