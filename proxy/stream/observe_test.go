package stream

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// witness writes down what an Observer is told.
type witness struct {
	mu    sync.Mutex
	lines []string
}

func (w *witness) observe(o Opened) func(Closed) {
	name := fmt.Sprintf("%s %d#%d %s", o.Service, o.Stream, o.Connection, o.Form)
	w.note("opened " + name)
	return func(c Closed) {
		text := fmt.Sprintf("closed %s %s in %d out %d after %v", name, c.Reason, c.BytesIn, c.BytesOut, c.Duration)
		if c.Err != nil {
			text += ": " + c.Err.Error()
		}
		w.note(text)
	}
}

func (w *witness) note(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
}

func (w *witness) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := slices.Sorted(slices.Values(w.lines)) // the order between connections is not defined
	return strings.Join(lines, "\n")
}

func TestTheObserverIsToldOfEachConnectionOnceAndWhyItEnded(t *testing.T) {
	for name, test := range map[string]struct {
		steps func(s *script)
		want  string
	}{
		"the far side ends it": {
			func(s *script) {
				s.send("STREAM_START 1 ECHO#1", "DATA 1 ECHO#1 hello")
				synctest.Wait()
				s.send("CONNECTION_RESET 1 ECHO#1")
			},
			"closed ECHO 1#1 V3 peer in 5 out 5 after 0s\nopened ECHO 1#1 V3",
		},
		"the far side ends the stream": {
			func(s *script) { s.send("STREAM_START 7 SINK", "DATA 7 SINK abc", "STREAM_RESET 7 SINK") },
			"closed SINK 7#1 V2 peer in 3 out 0 after 0s\nopened SINK 7#1 V2",
		},
		"another stream takes its place": {
			func(s *script) {
				s.send("STREAM_START 7 SINK")
				synctest.Wait()
				s.send("STREAM_START 8 SINK")
			},
			"closed SINK 7#1 V2 peer in 0 out 0 after 0s\nopened SINK 7#1 V2\nopened SINK 8#1 V2",
		},
		"the target ends it": {
			func(s *script) {
				s.send("STREAM_START 1 DEAF#1")
				synctest.Wait()
				time.Sleep(3 * time.Second)
				_ = s.target("DEAF", 0).Close()
			},
			"closed DEAF 1#1 V3 target in 0 out 0 after 3s\nopened DEAF 1#1 V3",
		},
		"the target takes nothing": {
			func(s *script) {
				s.send("STREAM_START 1 DEAF#1")
				for range 20 {
					s.send("DATA 1 DEAF#1 " + strings.Repeat("x", 63_000))
				}
				time.Sleep(time.Minute)
			},
			"closed DEAF 1#1 V3 stalled in 0 out 0 after 5s\nopened DEAF 1#1 V3",
		},
		"started twice": {
			func(s *script) {
				s.send("STREAM_START 1 SINK#1")
				synctest.Wait()
				s.send("CONNECTION_START 1 SINK#1")
			},
			"closed SINK 1#1 V3 violation in 0 out 0 after 0s\nopened SINK 1#1 V3",
		},
		"a message that its form does not have": {
			func(s *script) {
				s.send("STREAM_START 1 SINK")
				synctest.Wait()
				s.send("CONNECTION_START 1 SINK#2")
			},
			"closed SINK 1#1 V2 violation in 0 out 0 after 0s\nopened SINK 1#1 V2",
		},
		"the websocket ends": {
			func(s *script) {
				s.send("STREAM_START 1 SINK#1")
				synctest.Wait()
				_ = s.far.Close(closeNormal, "")
			},
			"closed SINK 1#1 V3 tunnel in 0 out 0 after 0s\nopened SINK 1#1 V3",
		},
		"this side stops": {
			func(s *script) {
				s.send("STREAM_START 1 SINK#1")
				synctest.Wait()
				s.d.Shutdown(context.Background())
			},
			"closed SINK 1#1 V3 stopped in 0 out 0 after 0s\nopened SINK 1#1 V3",
		},
		"a refused one was never open": {
			func(s *script) { s.send("STREAM_START 1 NONE#1", "CONNECTION_START 1 NONE#2") },
			"",
		},
		"one that is over before its target is there": {
			func(s *script) {
				s.send("STREAM_START 1 SLOW#1")
				synctest.Wait()
				s.send("CONNECTION_RESET 1 SLOW#1")
			},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &witness{}
				s := playObserved(t, w.observe)
				test.steps(s)
				synctest.Wait()
				time.Sleep(time.Second) // a pipe has no half close; what lingers is over
				if got := w.all(); got != test.want {
					t.Errorf("told\n%s\nwant\n%s", got, test.want)
				}
				s.hangUp()
			})
		})
	}
}

// expiring is a target with a limit of its own.
type expiring struct {
	*target
	why error
}

func (e *expiring) Expired() error { return e.why }

func TestATargetsOwnLimitIsToldToTheObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		s := playObserved(t, w.observe)
		limit := fmt.Errorf("too long")
		near, far := net.Pipe()
		s.only = &expiring{&target{Conn: near}, limit}
		s.send("STREAM_START 1 ANY#1")
		synctest.Wait()
		_ = near.Close()
		synctest.Wait()
		want := "closed ANY 1#1 V3 broken in 0 out 0 after 0s: too long\nopened ANY 1#1 V3"
		if got := w.all(); got != want {
			t.Errorf("told\n%s\nwant\n%s", got, want)
		}
		_ = far.Close()
		s.hangUp()
	})
}

// playObserved is play with an observer.
func playObserved(t *testing.T, o Observer) *script {
	s := play(t, "")
	s.hangUp()
	if err := <-s.served; err == nil {
		t.Error("Serve ended without an error")
	}
	near, far := newPair()
	s.far, s.judge = far, judged(t, near, false)
	s.d = NewDestination(DestinationConfig{
		Config: Config{Transport: s.judge, Logger: slog.New(s.log), Observer: o},
		Dial:   s.dial,
	})
	go func() { s.served <- s.d.Serve() }()
	return s
}
