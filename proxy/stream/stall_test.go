package stream

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const stall = DefaultStallTimeout

// full is a frame of the largest payload.
var full = strings.Repeat("x", 64512)

// fill sends n bytes, at least, to one connection without waiting for anything.
func (s *script) fill(who string, n int) (sent int) {
	s.t.Helper()
	for ; sent < n; sent += len(full) {
		s.send("DATA 1 " + who + " " + full)
	}
	return sent
}

// queued returns what is charged, and fails the test when that is over the limits.
func (s *script) queued() int {
	s.t.Helper()
	m := s.d.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := 0
	for c := range m.conns {
		if c.inbox.charged > inboxLimit {
			s.t.Errorf("%d bytes are charged to one connection, the limit is %d", c.inbox.charged, inboxLimit)
		}
		sum += c.inbox.charged
	}
	if sum != m.backlog.queued || sum > tunnelLimit {
		s.t.Errorf("%d bytes are charged, counted as %d, the limit is %d", sum, m.backlog.queued, tunnelLimit)
	}
	return sum
}

func (s *script) expect(when string, want ...string) {
	s.t.Helper()
	if got := s.received(); !slices.Equal(want, got) {
		s.t.Errorf("%s: %q came back, want %q", when, got, want)
	}
}

func TestAStalledTargetLosesItsConnectionAfterTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 DEAF#1", "STREAM_START 1 ECHO#1")
		// Until its inbox is full it holds up no other connection.
		for range inboxLimit/len(full) - 1 {
			s.send("DATA 1 DEAF#1 "+full, "DATA 1 ECHO#1 beside")
			s.expect("beside a target that stalls", "DATA 1 ECHO#1 beside")
		}
		if s.queued() < inboxLimit*8/10 {
			t.Fatalf("only %d bytes wait", s.queued())
		}
		s.fill("DEAF#1", 2*len(full))
		s.send("DATA 1 ECHO#1 behind")
		time.Sleep(stall - time.Nanosecond)
		s.expect("just before the timeout")
		time.Sleep(time.Nanosecond)
		s.expect("at the timeout", "CONNECTION_RESET 1 DEAF#1", "DATA 1 ECHO#1 behind")
		s.send("DATA 1 DEAF#1 late", "CONNECTION_RESET 1 DEAF#1")
		s.expect("afterwards")
		if n := s.queued(); n != 0 {
			t.Errorf("%d bytes are charged for a connection that has ended", n)
		}
		if lines := s.log.all(); len(lines) != 1 || !strings.Contains(lines[0], "service=DEAF") {
			t.Errorf("logged: %q", lines)
		}
		if stats := s.d.Stats(); stats[0].LastError == "" || !stats[0].LastErrorAt.Equal(time.Now()) || stats[1].LastError != "" {
			t.Errorf("statistics: %+v", stats)
		}
		s.alive(V3)
		_ = s.end()
	})
}

func TestATargetThatHasStalledForLongHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 DEAF#1", "STREAM_START 1 ECHO#1")
		s.fill("DEAF#1", inboxLimit/2)
		time.Sleep(stall)
		s.fill("DEAF#1", inboxLimit)
		s.send("DATA 1 ECHO#1 at once")
		s.expect("when the inbox is full at last", "CONNECTION_RESET 1 DEAF#1", "DATA 1 ECHO#1 at once")
		_ = s.end()
	})
}

// The clock of a target starts when there is something to take, not again with each frame, and not before.
func TestTheStallClockRunsWhileSomethingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 DEAF#1", "STREAM_START 1 ECHO#1")
		time.Sleep(time.Hour) // idle is not stalled
		s.send("DATA 1 DEAF#1 x")
		time.Sleep(stall / 2)
		s.fill("DEAF#1", inboxLimit+2*len(full))
		s.send("DATA 1 ECHO#1 x")
		time.Sleep(stall/2 - time.Nanosecond)
		s.expect("just before the timeout")
		time.Sleep(time.Nanosecond)
		s.expect("at the timeout", "CONNECTION_RESET 1 DEAF#1", "DATA 1 ECHO#1 x")
		_ = s.end()
	})
}

// It hurts no other connection.
func TestASlowTargetThatIsAloneIsNeverReset(t *testing.T) {
	for _, size := range []int{1, 100, 5000} {
		t.Run(fmt.Sprintf("%d bytes at a time", size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 1 DEAF#1")
				to := s.target("DEAF", 0)
				sent := 0
				done := make(chan struct{})
				go func() {
					defer close(done)
					for ; sent < 2<<20; sent += len(full) {
						s.send("DATA 1 DEAF#1 " + full)
					}
					s.send("STREAM_START 1 ECHO#1", "DATA 1 ECHO#1 at last")
				}()
				got := 0
				b := make([]byte, 64<<10)
				for range 100 {
					time.Sleep(stall * 3 / 4)
					n, err := to.Read(b[:size])
					if err != nil {
						t.Fatal(err)
					}
					got += n
					s.queued()
				}
				s.expect("while it reads slowly")
				for got < 2<<20 {
					n, err := to.Read(b)
					if err != nil {
						t.Fatal(err)
					}
					got += n
				}
				<-done
				s.expect("in the end", "DATA 1 ECHO#1 at last")
				s.send("CONNECTION_RESET 1 DEAF#1")
				rest, err := io.ReadAll(to)
				if err != nil || got+len(rest) != sent {
					t.Errorf("%d of %d bytes arrived, %v", got+len(rest), sent, err)
				}
				_ = s.end()
			})
		})
	}
}

// A target that reads slowly beside others keeps its connection as long as it takes a chunk in the hold timeout.
func TestASlowTargetMayHoldUpOthersForALimitedTime(t *testing.T) {
	for _, c := range []struct {
		rate  int // bytes a second, read once a second
		reset bool
	}{{10_000, false}, {5000, false}, {4000, true}, {10, true}} {
		t.Run(fmt.Sprintf("%d bytes a second", c.rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 1 DEAF#1", "STREAM_START 1 ECHO#1")
				to := s.target("DEAF", 0)
				s.fill("DEAF#1", inboxLimit-2*len(full))
				var reader sync.WaitGroup
				defer reader.Wait()
				reader.Go(func() {
					for b := make([]byte, c.rate); ; time.Sleep(time.Second) {
						if _, err := io.ReadFull(to, b); err != nil {
							return
						}
					}
				})
				resets := 0
				for range 20 {
					// Each of these waits for the one before it.
					s.send("DATA 1 DEAF#1 "+full, "DATA 1 ECHO#1 x")
					before := time.Now()
					for echoed := false; !echoed; {
						time.Sleep(time.Second / 10)
						for _, m := range s.received() {
							switch m {
							case "DATA 1 ECHO#1 x":
								echoed = true
							case "CONNECTION_RESET 1 DEAF#1":
								resets++
							default:
								t.Fatalf("received %s", m)
							}
						}
					}
					if held := time.Since(before); held > holdFactor*stall+time.Second {
						t.Errorf("the other connection waited %v", held)
					}
				}
				if c.reset != (resets == 1) {
					t.Errorf("%d resets", resets)
				}
				if lines := s.log.all(); c.reset && (len(lines) != 1 || !strings.Contains(lines[0], "too slowly")) {
					t.Errorf("logged: %q", lines)
				}
				_ = s.end()
			})
		})
	}
}

func TestDataDuringASlowDialIsHeldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 SLOW#1", "STREAM_START 1 ECHO#1")
		var want strings.Builder
		for i := range 500 {
			piece := fmt.Sprintf("%d,", i)
			want.WriteString(piece)
			s.send("DATA 1 SLOW#1 " + piece)
		}
		s.send("DATA 1 ECHO#1 not held up", "CONNECTION_RESET 1 SLOW#1")
		s.expect("while the dial takes its time", "DATA 1 ECHO#1 not held up")
		time.Sleep(time.Minute)
		close(s.connect)
		got, err := io.ReadAll(s.target("SLOW", 0))
		if err != nil || string(got) != want.String() {
			t.Errorf("%d bytes arrived, want %d; %v", len(got), want.Len(), err)
		}
		_ = s.end()
	})
}

func TestMoreDataThanFitsDuringADial(t *testing.T) {
	for _, connects := range []bool{true, false} {
		t.Run(fmt.Sprintf("connects=%v", connects), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 1 SLOW#1", "STREAM_START 1 ECHO#1")
				sent := make(chan int)
				go func() { sent <- s.fill("SLOW#1", 3<<20) }()
				time.Sleep(stall - time.Nanosecond)
				synctest.Wait()
				if n := s.queued(); n < inboxLimit*8/10 {
					t.Errorf("%d bytes wait", n)
				}
				if !connects {
					time.Sleep(time.Nanosecond)
					<-sent
					s.expect("at the timeout", "CONNECTION_RESET 1 SLOW#1")
					s.alive(V3)
					_ = s.end()
					return
				}
				close(s.connect)
				to := s.target("SLOW", 0)
				got := make(chan int)
				go func() {
					b, _ := io.ReadAll(to)
					if !bytes.Equal(b, bytes.Repeat([]byte("x"), len(b))) {
						t.Error("bytes arrived changed")
					}
					got <- len(b)
				}()
				want := <-sent
				s.send("CONNECTION_RESET 1 SLOW#1")
				if n := <-got; n != want {
					t.Errorf("%d of %d bytes arrived", n, want)
				}
				s.expect("when all is written")
				_ = s.end()
			})
		})
	}
}

// The peer's end of a connection stops its dial, unless there is something to write.
func TestAResetStopsTheDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 SLOW#1", "CONNECTION_START 1 SLOW#2", "CONNECTION_RESET 1 SLOW#1")
		s.expect("a reset of a connection that dials")
		if n := s.d.Stats()[0].Connections; n != 1 {
			t.Errorf("%d connections dial, want 1", n)
		}
		s.send("STREAM_RESET 1 SLOW")
		s.expect("a reset of the stream")
		if n := s.d.Stats()[0].Connections; n != 0 {
			t.Errorf("%d connections dial, want 0", n)
		}
		if lines := s.log.all(); len(lines) != 0 {
			t.Errorf("a dial that was called off is no refusal: %q", lines)
		}
		_ = s.end()
	})
}

// All the memory of a tunnel may be in the hands of stalled targets: the longest stalled gives way.
func TestTheTunnelsMemoryIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		targets, each int
	}{
		{"some targets with much", 8, 700 << 10},
		{"many targets with a frame each", 80, 1},
		{"very many targets with a byte each", 1000, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 1 ECHO#1", "STREAM_START 1 DEAF#1")
				for i := range c.targets {
					if i > 0 {
						s.send(fmt.Sprintf("CONNECTION_START 1 DEAF#%d", i+1))
					}
				}
				s.expect("starts")
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for i := range c.targets {
						if who := fmt.Sprintf("DEAF#%d", i+1); c.each == 0 {
							s.send("DATA 1 " + who + " x")
						} else {
							s.fill(who, c.each)
						}
					}
					s.send("DATA 1 ECHO#1 through")
				}()
				for range 100 {
					time.Sleep(stall / 50)
					synctest.Wait()
					s.queued()
				}
				<-sent
				got := s.received()
				if len(got) == 0 || got[len(got)-1] != "DATA 1 ECHO#1 through" {
					t.Errorf("after %d resets the echo is missing", len(got))
				}
				if n := s.judge.resets(); c.each == 0 && n > 0 || n > c.targets/2 {
					t.Errorf("%d of %d connections were reset", n, c.targets)
				}
				_ = s.end()
			})
		})
	}
}

// A draining connection gives its memory up for those that are alive, once it has stalled.
func TestNoConnectionIsResetForADrainingOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 DEAF#1", "STREAM_START 1 ECHO#1")
		for i := range 5 {
			time.Sleep(time.Millisecond)
			s.send(fmt.Sprintf("CONNECTION_START 1 DEAF#%d", i+2))
			who := fmt.Sprintf("DEAF#%d", i+2)
			s.fill(who, inboxLimit*8/10)
			s.send("CONNECTION_RESET 1 " + who)
		}
		s.send("DATA 1 ECHO#1 x")
		time.Sleep(stall)
		if diff := cmp.Diff([]string{"DATA 1 ECHO#1 x"}, s.received()); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		s.queued()
		_ = s.end()
	})
}
