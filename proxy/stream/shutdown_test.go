package stream

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
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
