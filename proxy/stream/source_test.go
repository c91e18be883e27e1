package stream

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// asSource plays the destination and the service to a Source, inside a bubble. Stream ids are random, so
// messages come back with the first one written as 1, the next as 2 and so on.
type asSource struct {
	*script
	s   *Source
	ids []int32
}

func playSource(t *testing.T, form Form) *asSource {
	t.Helper()
	near, far := newPair()
	s := &asSource{script: &script{t: t, far: far, log: &logLines{}, served: make(chan error, 1)}}
	s.judge = judged(t, near, true)
	s.s = NewSource(SourceConfig{Config: Config{Transport: s.judge}, Form: form, Announced: true})
	go func() { s.served <- s.s.Serve() }()
	t.Cleanup(s.hangUp)
	return s
}

// open opens a connection and returns the client's end.
func (s *asSource) open(service string) *target {
	s.t.Helper()
	a, b := net.Pipe()
	if err := s.s.Open(service, a); err != nil {
		s.t.Fatalf("open %q: %v", service, err)
	}
	client := &target{Conn: b}
	if s.targets == nil {
		s.targets = map[string][]*target{}
	}
	s.targets[service] = append(s.targets[service], client)
	return client
}

// received is as script's, with the stream ids counted from 1.
func (s *asSource) received() []string {
	s.t.Helper()
	var all []string
	for _, line := range s.script.received() {
		m := message(line)
		i := slices.Index(s.ids, m.StreamID)
		if i < 0 {
			i = len(s.ids)
			s.ids = append(s.ids, m.StreamID)
		}
		m.StreamID = int32(i + 1)
		all = append(all, text(&m))
	}
	return all
}

func (s *asSource) expect(when string, want ...string) {
	s.t.Helper()
	if got := s.received(); !slices.Equal(want, got) {
		s.t.Errorf("%s: sent %q, want %q", when, got, want)
	}
}

// send is as script's, with the stream ids as received counts them.
func (s *asSource) send(messages ...string) {
	s.t.Helper()
	var b []byte
	for _, line := range messages {
		m := message(line)
		if m.StreamID > 0 && int(m.StreamID) <= len(s.ids) {
			m.StreamID = s.ids[m.StreamID-1]
		}
		b, _ = m.AppendFrame(b)
	}
	s.sendBytes(b)
}

func (s *asSource) end() {
	s.t.Helper()
	_ = s.far.Close(closeNormal, "")
	if err := <-s.served; err == nil {
		s.t.Error("it ended without saying why")
	}
	s.hangUp()
	synctest.Wait()
	checkEmpty(s.t, s.s.mux)
}

func TestASourceStartsStreamsAndConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := playSource(t, V3)
		s.open("SSH")
		s.expect("the first", "STREAM_START 1 SSH#1")
		s.open("SSH")
		s.expect("a further one", "CONNECTION_START 1 SSH#2")
		s.open("HTTP")
		s.expect("another service", "STREAM_START 2 HTTP#1")
		c := s.open("SSH")
		_ = c.Close()
		s.expect("one that ends", "CONNECTION_START 1 SSH#3", "CONNECTION_RESET 1 SSH#3")
		s.open("SSH")
		s.expect("an id is not used again", "CONNECTION_START 1 SSH#4")
		for _, c := range s.targets["SSH"] {
			_ = c.Close()
		}
		ends := s.received() // in any order
		slices.Sort(ends)
		if want := []string{"CONNECTION_RESET 1 SSH#1", "CONNECTION_RESET 1 SSH#2", "CONNECTION_RESET 1 SSH#4"}; !slices.Equal(want, ends) {
			t.Errorf("all end: sent %q, want %q", ends, want)
		}
		s.open("SSH")
		s.expect("a stream outlives its connections", "CONNECTION_START 1 SSH#5")
		s.end()
	})
}

func TestASourceSpeaksTheFormItIsTold(t *testing.T) {
	for _, c := range []struct {
		form    Form
		service string
		want    []string
	}{
		{V1, "SSH", []string{"STREAM_START 1 -", "DATA 1 - hello", "STREAM_RESET 1 -", "STREAM_START 2 -"}},
		{V1, "", []string{"STREAM_START 1 -", "DATA 1 - hello", "STREAM_RESET 1 -", "STREAM_START 2 -"}},
		{V2, "SSH", []string{"STREAM_START 1 SSH", "DATA 1 SSH hello", "STREAM_RESET 1 SSH", "STREAM_START 2 SSH"}},
		{V3, "SSH", []string{"STREAM_START 1 SSH#1", "DATA 1 SSH#1 hello", "CONNECTION_RESET 1 SSH#1", "CONNECTION_START 1 SSH#2"}},
		{V3, "", []string{"STREAM_START 1 #1", "DATA 1 #1 hello", "CONNECTION_RESET 1 #1", "CONNECTION_START 1 #2"}},
	} {
		t.Run(c.form.String()+" "+c.service, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := playSource(t, c.form)
				client := s.open(c.service)
				_, _ = io.WriteString(client, "hello")
				got := s.received()
				_ = client.Close()
				got = append(got, s.received()...)
				s.open(c.service)
				if got = append(got, s.received()...); !slices.Equal(c.want, got) {
					t.Errorf("sent %q, want %q", got, c.want)
				}
				s.end()
			})
		})
	}
}

func TestAnOlderDestinationTakesOneConnectionAService(t *testing.T) {
	for _, form := range []Form{V1, V2} {
		t.Run(form.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := playSource(t, form)
				c := s.open("SSH")
				a, b := net.Pipe()
				if err := s.s.Open("SSH", a); !errors.Is(err, ErrBusy) {
					t.Errorf("a second connection: %v, want ErrBusy", err)
				}
				if err := s.s.Open("HTTP", a); errors.Is(err, ErrBusy) != (form == V1) {
					t.Errorf("another service: %v", err)
				}
				go func() { _, _ = b.Write([]byte("x")) }() // left to the caller, the refused one is open
				if form == V1 {
					if _, err := io.ReadFull(a, make([]byte, 1)); err != nil {
						t.Error(err)
					}
				}
				_ = s.received()
				_ = c.Close()
				synctest.Wait()
				s.open("SSH")
				_ = b.Close()
				s.end()
			})
		})
	}
}

func TestTheFarSideEndsASourcesConnections(t *testing.T) {
	for _, c := range []struct {
		name, end string
		ended     [2]bool // of two connections
		next      string
	}{
		{"CONNECTION_RESET ends one", "CONNECTION_RESET 1 SSH#1", [2]bool{true, false}, "CONNECTION_START 1 SSH#3"},
		{"STREAM_RESET ends all, and the next is a new stream", "STREAM_RESET 1 SSH", [2]bool{true, true}, "STREAM_START 2 SSH#1"},
		{"SESSION_RESET ends all, and the next is a new stream", "SESSION_RESET", [2]bool{true, true}, "STREAM_START 2 SSH#1"},
		{"a reset of another stream is stale", "STREAM_RESET 77 SSH", [2]bool{false, false}, "CONNECTION_START 1 SSH#3"},
		{"a reset of an unknown connection is nothing", "CONNECTION_RESET 1 SSH#9", [2]bool{false, false}, "CONNECTION_START 1 SSH#3"},
		{"a destination cannot start anything", "STREAM_START 1 SSH#1", [2]bool{false, false}, "CONNECTION_START 1 SSH#3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := playSource(t, V3)
				clients := []*target{s.open("SSH"), s.open("SSH")}
				for _, to := range clients {
					go to.sink()
				}
				_ = s.received()
				s.send("DATA 1 SSH#1 tail", "DATA 1 SSH#2 tail", c.end, "DATA 1 SSH#1 late")
				s.expect("a reset")
				for i, to := range clients {
					got := to.text()
					want := "tail"
					if c.ended[i] {
						want += "|"
					} else if i == 0 {
						want += "late"
					}
					if got != want {
						t.Errorf("client %d received %q, want %q", i+1, got, want)
					}
				}
				s.open("SSH")
				s.expect("the next", c.next)
				s.end()
			})
		})
	}
}

func TestStreamIDsDoNotRepeat(t *testing.T) {
	seen := map[int32]bool{}
	for range 50 { // each stands for a start of the program
		synctest.Test(t, func(t *testing.T) {
			s := playSource(t, V2)
			for range 3 {
				_ = s.open("SSH").Close()
				for _, line := range s.script.received() {
					m := message(line)
					if m.Type != frame.StreamStart {
						continue
					}
					if m.StreamID <= 0 || seen[m.StreamID] {
						t.Errorf("stream id %d is repeated, or invalid", m.StreamID)
					}
					seen[m.StreamID] = true
				}
			}
			s.end()
		})
	}
	if len(seen) != 150 {
		t.Errorf("%d streams, want 150", len(seen))
	}
}

func TestIDsWrapToOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := playSource(t, V3)
		s.s.lastID = 1<<31 - 2
		s.open("SSH")
		s.open("HTTP")
		if got, want := s.script.received(), []string{"STREAM_START 2147483647 SSH#1", "STREAM_START 1 HTTP#1"}; !slices.Equal(want, got) {
			t.Errorf("streams %q, want %q", got, want)
		}
		s.s.streams["SSH"].next = 1<<32 - 2
		s.open("SSH")
		s.open("SSH")
		if got, want := s.script.received(), []string{"CONNECTION_START 2147483647 SSH#4294967295", "CONNECTION_START 2147483647 SSH#2"}; !slices.Equal(want, got) {
			t.Errorf("connections %q, want %q: 0 is no id and 1 is taken", got, want)
		}
		s.end()
	})
}

func TestReadyAndServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := playSource(t, V3)
		ready := func() bool {
			synctest.Wait()
			select {
			case <-s.s.Ready():
				return true
			default:
				return false
			}
		}
		if ready() {
			t.Error("ready before SERVICE_IDS")
		}
		s.send("SERVICE_IDS 0 - SSH HTTP")
		if !ready() || !slices.Equal(s.s.Services(), []string{"SSH", "HTTP"}) {
			t.Errorf("services %q", s.s.Services())
		}
		s.send("SERVICE_IDS")
		if !ready() || len(s.s.Services()) != 0 {
			t.Errorf("services %q", s.s.Services())
		}
		s.end()
	})
	select {
	case <-NewSource(SourceConfig{Form: V1}).Ready():
	default:
		t.Error("nothing is announced in V1, and yet it is waited for")
	}
}

func TestOpenFailsWhenItCannotBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := playSource(t, V3)
		a, b := net.Pipe()
		if err := s.s.Open(strings.Repeat("x", 129), a); err == nil {
			t.Error("an impossible service id was taken")
		}
		s.far.in.stop(true)
		for range maxConnections {
			s.open("SSH")
		}
		if err := s.s.Open("SSH", a); err == nil {
			t.Error("more connections than may be")
		}
		synctest.Wait()
		s.far.in.fail(errors.New("broken"))
		synctest.Wait()
		if err := s.s.Open("SSH", a); !errors.Is(err, ErrEnded) {
			t.Errorf("when nothing can be sent any more: %v, want ErrEnded", err)
		}
		s.end()
		if err := s.s.Open("SSH", a); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v, want ErrEnded", err)
		}
		_ = b.Close()
	})
}

func TestOpenFailsDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := playSource(t, V3)
		s.open("SSH")
		synctest.Wait()
		s.far.in.stop(true)
		over := since(func() { s.s.Shutdown(t.Context()) })
		synctest.Wait()
		if err := s.s.Open("SSH", nil); !errors.Is(err, ErrEnded) {
			t.Errorf("%v, want ErrEnded", err)
		}
		s.far.in.stop(false)
		_ = s.received()
		if d := <-over; d > time.Second {
			t.Errorf("it took %v", d)
		}
		s.end()
	})
}

// OnStream is told of each connection: from the first on the service answers pings.
func TestOnStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := newPair()
		told := 0
		d := NewDestination(DestinationConfig{Config: Config{Transport: near, OnStream: func() { told++ }}})
		d.dialFunc = (&script{}).dial
		served := make(chan error, 1)
		go func() { served <- d.Serve() }()
		_, _ = far.Write(frames("SERVICE_IDS 0 - SSH"))
		synctest.Wait()
		if told != 0 {
			t.Error("told without a stream")
		}
		_, _ = far.Write(frames("STREAM_START 1 NONE#1"))
		synctest.Wait()
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		_ = far.Close(closeNormal, "")
		if err := <-served; err == nil {
			t.Error("it ended without saying why")
		}
	})
}
