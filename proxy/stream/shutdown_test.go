package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// shutdown begins a Shutdown of at most limit and tells when it is over.
func (s *script) shutdown(limit time.Duration) <-chan time.Duration {
	return since(func() {
		ctx, cancel := context.WithTimeout(s.t.Context(), limit)
		defer cancel()
		s.d.Shutdown(ctx)
	})
}

func TestShutdownTellsThePeerOfEachStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 ECHO#1", "CONNECTION_START 1 ECHO#2", "STREAM_START 2 SINK#1", "STREAM_START 3 SLOW#1", "STREAM_START 4 NONE#1")
		s.send("DATA 2 SINK#1 tail", "STREAM_START 5 DEAF#1", "CONNECTION_RESET 5 DEAF#1")
		s.expect("starts", "CONNECTION_RESET 4 NONE#1")
		over := s.shutdown(time.Second)
		got := s.received()
		slices.Sort(got)
		want := []string{"STREAM_RESET 1 ECHO", "STREAM_RESET 2 SINK", "STREAM_RESET 3 SLOW", "STREAM_RESET 4 NONE", "STREAM_RESET 5 DEAF"}
		if !slices.Equal(want, got) {
			t.Errorf("told %q, want %q", got, want)
		}
		if d := <-over; d != 0 {
			t.Errorf("it took %v", d)
		}
		if err := <-s.served; err == nil {
			t.Error("Serve ended without an error")
		}
		if to := s.target("SINK", 0).text(); to != "tail|" {
			t.Errorf("the target received %q", to)
		}
		if code := s.judge.Transport.(*end).closeCode(); code != closeNormal {
			t.Errorf("closed with code %d", code)
		}
		if d := <-s.shutdown(time.Second); d != 0 {
			t.Errorf("once more: it took %v", d)
		}
		s.served <- nil
		_ = s.end()
	})
}

func TestShutdownTakesNoLongerThanItMay(t *testing.T) {
	for name, block := range map[string]func(s *script){
		"a transport that blocks before": func(s *script) {
			s.far.in.stop(true)
			s.send("STREAM_START 1 NONE#1") // its answer blocks
		},
		"a transport that blocks then": func(s *script) { s.far.in.stop(true) },
		"a reader that waits": func(s *script) {
			s.far.in.stop(true)
			go func() {
				for range 50 {
					_, _ = s.far.Write(frames("DATA 9 DEAF#1 " + full))
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 9 DEAF#1", "STREAM_START 9 ECHO#1")
				s.expect("starts")
				block(s)
				synctest.Wait()
				const limit = 2 * time.Second
				served := since(func() { err := <-s.served; s.served <- err })
				if d := <-s.shutdown(limit); d != limit {
					t.Errorf("Shutdown took %v, want %v", d, limit)
				}
				if d := <-served; d > limit+endGrace {
					t.Errorf("Serve ended after %v", d)
				}
				_ = s.end()
			})
		})
	}
}

func TestNothingStartsDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 ECHO#1")
		s.expect("a start")
		s.far.in.stop(true)
		over := s.shutdown(time.Minute)
		synctest.Wait()
		s.send("STREAM_START 2 SINK#1", "DATA 2 SINK#1 x", "STREAM_START 3 NONE#1")
		synctest.Wait()
		s.far.in.stop(false)
		s.expect("a shutdown", "STREAM_RESET 1 ECHO")
		<-over
		if n := len(s.targets["SINK"]); n != 0 {
			t.Errorf("%d targets were connected", n)
		}
		_ = s.end()
	})
}

// A device may be told to stop before it got anywhere.
func TestShutdownBeforeServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newPair()
		d := NewDestination(DestinationConfig{Config: Config{Transport: near}})
		d.Shutdown(t.Context())
		if err := d.Serve(); err == nil {
			t.Error("Serve ended without an error")
		}
	})
}

// A source in another form is another source. It would not understand messages that wait in the old form.
func TestNothingMoreIsSentInTheOldForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.far.in.stop(true)
		s.send("STREAM_START 1 NONE")
		synctest.Wait() // its reset is being sent
		s.send("STREAM_START 2 NONE")
		synctest.Wait()
		s.send("STREAM_START 3 ECHO#1", "DATA 3 ECHO#1 x")
		synctest.Wait()
		s.far.in.stop(false)
		s.expect("a change of form", "STREAM_RESET 1 NONE", "DATA 3 ECHO#1 x")
		_ = s.end()
	})
}

// stuckTransport takes nothing any more, and closes only when it is cut.
type stuckTransport struct {
	first io.Reader
	over  chan struct{}
}

func (s *stuckTransport) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	<-s.over
	return 0, net.ErrClosed
}

func (s *stuckTransport) WriteBuffers(...[]byte) error { <-s.over; return net.ErrClosed }
func (s *stuckTransport) Close(int, string) error      { <-s.over; return nil }
func (s *stuckTransport) Cut()                         { close(s.over) }

// All connections of a process wait for its slowest websocket when the next process is to go on with them.
func TestABlockedWebsocketIsCutBeforeAHandOver(t *testing.T) {
	for name, first := range map[string]string{"a write is stuck": "STREAM_START 1 NONE#1", "only the close is": "STREAM_RESET 1 NONE"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
				transport := &stuckTransport{bytes.NewReader(frames(first)), make(chan struct{})}
				d := NewDestination(DestinationConfig{
					Config: Config{Transport: transport, Resume: registry},
					Dial:   func(context.Context, string) (net.Conn, error) { return nil, errors.New("refused") },
				})
				served := make(chan struct{})
				go func() {
					defer close(served)
					_ = d.Serve()
				}()
				synctest.Wait()
				registry.Lock()
				registry.HandOver = true
				registry.Unlock()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				over := since(func() { d.Shutdown(ctx); <-served })
				if took := <-over; took != handOverFlush {
					t.Errorf("it ended after %v, want %v", took, handOverFlush)
				}
			})
		})
	}
}

// From then on a websocket might answer for connections that it has no longer.
func TestNothingIsActedOnDuringAHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.send("STREAM_START 1 ECHO#1")
		s.expect("a start")
		s.d.resume = resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
		s.d.resume.HandOver = true
		s.send("STREAM_START 2 SINK#1", "DATA 2 SINK#1 x", "STREAM_START 3 NONE#1")
		synctest.Wait()
		if n := len(s.targets["SINK"]); n != 0 {
			t.Errorf("%d targets were connected", n)
		}
		s.d.resume = nil
		_ = s.end()
	})
}
