package stream

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/internal/loglimit"
)

// A peer that starts connections without end and does not read the answers is not read any further itself.
func TestAFloodOfStartsFromAPeerThatDoesNotRead(t *testing.T) {
	if testing.Short() {
		t.Skip("to fill all buffers takes a minute under an emulator")
	}
	for name, start := range map[string]func(i int) string{
		"STREAM_START of one dead service":   func(i int) string { return fmt.Sprintf("STREAM_START %d NONE#1", i+1) },
		"STREAM_START of many":               func(i int) string { return fmt.Sprintf("STREAM_START 1 N%d#1", i) },
		"CONNECTION_START of a dead service": func(i int) string { return fmt.Sprintf("CONNECTION_START 1 NONE#%d", i+1) },
		"CONNECTION_START of a slow service": func(i int) string { return fmt.Sprintf("CONNECTION_START 1 SLOW#%d", i+1) },
		"V2 STREAM_START":                    func(i int) string { return fmt.Sprintf("STREAM_START %d NONE", i+1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const flood = 15_000 // more than all buffers hold, or their answers would be
				s := play(t, "")
				s.far.out.limit = 64 << 10
				s.judge.forget = true
				answers, began := 0, time.Now()
				goroutines := runtime.NumGoroutine()
				s.far.in.stop(true)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for i := 0; i < flood; {
						var batch []string
						for range 100 {
							batch = append(batch, start(i))
							i++
						}
						s.send(batch...)
					}
				}()
				m := s.d.mux
				for range 5 {
					time.Sleep(time.Minute)
					synctest.Wait()
					m.mu.Lock()
					if n := cap(m.control) + cap(m.spare); n > 4*controlHigh {
						t.Errorf("%d bytes of answers wait", n)
					}
					if n := len(m.conns); n > maxConnections {
						t.Errorf("%d connections", n)
					}
					if n := len(m.streams); n > maxStreams {
						t.Errorf("%d streams", n)
					}
					m.mu.Unlock()
					if n := runtime.NumGoroutine() - goroutines; n > 2*maxConnections+10 {
						t.Errorf("%d goroutines more", n)
					}
				}
				select {
				case <-sent:
					// A stream that is started again needs no answer.
					if strings.HasPrefix(name, "CONNECTION_START") {
						t.Error("all was read, though the source reads no answers")
					}
				default:
				}
				s.far.in.stop(false)
				for done := false; !done; {
					time.Sleep(time.Second)
					synctest.Wait()
					answers += len(s.received())
					select {
					case <-sent:
						done = true
					default:
					}
				}
				time.Sleep(time.Duration(flood/startRate) * time.Second) // what the buffers hold is read
				synctest.Wait()
				answers += len(s.received())
				intervals := int(time.Since(began)/loglimit.DefaultEvery) + 1
				if lines := s.log.all(); len(lines) > intervals*(loglimit.DefaultKinds+1) {
					t.Errorf("%d lines in the log", len(lines))
				}
				if answers == 0 || answers > flood {
					t.Errorf("%d answers to %d starts", answers, flood)
				}
				if strings.HasPrefix(name, "CONNECTION_START of a dead") && answers != flood {
					t.Errorf("%d answers to %d starts", answers, flood)
				}
				s.send("STREAM_RESET 1 SLOW")
				s.expect("a reset")
				s.alive(V3)
				_ = s.end()
			})
		})
	}
}

// All connections of a tunnel may end at once. Their resets are more than a message holds.
func TestResetsOfAllConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		service := strings.Repeat("F", maxServiceID) // is refused when the test says so
		s.fails = service
		for i := range maxConnections {
			start := "CONNECTION_START"
			if i == 0 {
				start = "STREAM_START"
			}
			s.send(fmt.Sprintf("%s 1 %s#%d", start, service, i+1))
		}
		s.expect("starts")
		s.far.in.stop(true)
		s.send("STREAM_START 1 NONE#1") // its answer is being sent meanwhile
		synctest.Wait()
		close(s.connect)
		synctest.Wait()
		s.far.in.stop(false)
		if got := s.received(); len(got) != maxConnections+1 {
			t.Errorf("%d resets for %d connections", len(got), maxConnections+1)
		}
		_ = s.end()
	})
}

// Starting, having the target greet, and ending, over and over: what is over leaves no trace, though the
// sender does not get to its data.
func TestConnectionsThatEndUnheardLeaveNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.far.in.stop(true)
		s.send("STREAM_START 1 DEAF#1")
		for i := range 2000 {
			to := s.target("DEAF", i)
			go func() { _, _ = to.Write([]byte("SSH-2.0-hello\r\n")) }()
			synctest.Wait()
			s.send(fmt.Sprintf("CONNECTION_RESET 1 DEAF#%d", i+1), fmt.Sprintf("CONNECTION_START 1 DEAF#%d", i+2))
		}
		synctest.Wait()
		m := s.d.mux
		m.mu.Lock()
		if n := m.sched.fresh.n + m.sched.bulk.n; n > 1 || len(m.conns) != 1 {
			t.Errorf("%d connections are ready, %d remain", n, len(m.conns))
		}
		m.mu.Unlock()
		s.far.in.stop(false)
		_ = s.received()
		_ = s.end()
	})
}

func TestConnectionsOfATunnelAreLimited(t *testing.T) {
	t.Parallel()
	for _, start := range []string{"CONNECTION_START 1 %s#%d", "STREAM_START %[2]d %[1]s#%[2]d"} {
		t.Run(start, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, "")
				s.send("STREAM_START 1 DEAF#1", "DATA 1 DEAF#1 x")
				s.expect("the first")
				for i := range maxConnections - 1 {
					s.send(fmt.Sprintf("CONNECTION_START 1 DEAF#%d", i+2), fmt.Sprintf("DATA 1 DEAF#%d x", i+2))
				}
				s.expect("as many as may be")
				if n := s.d.Stats()[0].Connections; n != maxConnections {
					t.Fatalf("%d connections", n)
				}
				service, answer := "DEAF", "CONNECTION_RESET 1 DEAF#5000"
				if strings.HasPrefix(start, "STREAM") {
					service, answer = "ECHO", "CONNECTION_RESET 5000 ECHO#5000"
				}
				s.send(fmt.Sprintf(start, service, 5000))
				s.expect("one more", answer)
				// Those that drain count: they have a socket still.
				s.send("CONNECTION_RESET 1 DEAF#1", fmt.Sprintf(start, service, 5000))
				s.expect("one more while one drains", answer)
				_ = s.target("DEAF", 0).Close()
				synctest.Wait()
				s.send(fmt.Sprintf(start, service, 5000))
				s.expect("one more when there is room")
				_ = s.end()
			})
		})
	}
}

// A tunnel has few services. One whose streams are all idle makes room for others.
func TestStreamsOfATunnelAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.any = true
		for i := range maxStreams {
			s.send(fmt.Sprintf("STREAM_START 1 DEAF%d#1", i))
		}
		s.expect("as many as may be")
		s.send("STREAM_START 1 ECHO#1")
		s.expect("one more", "CONNECTION_RESET 1 ECHO#1")
		s.send("STREAM_START 2 DEAF3#1")
		s.expect("one of them again")
		s.send("CONNECTION_RESET 1 DEAF5#1", "STREAM_START 1 ECHO#1", "DATA 1 ECHO#1 x")
		s.expect("one more in the place of an idle one", "DATA 1 ECHO#1 x")
		_ = s.end()
	})
}

// Bytes for connections that have ended cost their sender nothing, and nothing else slows it down.
func TestAFloodForEndedConnectionsIsReadMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, "")
		s.judge.forget = true
		flood := frames("DATA 77 SINK#77 " + strings.Repeat("x", 60_000))
		const n = 1600 // 96 MB
		began := time.Now()
		for range n {
			s.sendBytes(flood)
		}
		if took, least := time.Since(began), time.Duration((n*60_000-strayBurst-(1<<20))/strayRate)*time.Second; took < least {
			t.Errorf("%d bytes took %v, want %v at least", n*60_000, took, least)
		}
		if lines := s.log.all(); len(lines) != 1 || !strings.Contains(lines[0], "connections that have ended") {
			t.Errorf("the log says %q", lines)
		}
		_ = s.far.Close(closeNormal, "")
		if err := <-s.served; err != nil {
			t.Logf("the tunnel ended with %v", err)
		}
	})
}
