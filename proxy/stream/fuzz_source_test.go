package stream

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// FuzzSource: whatever a destination and the service send and the clients do, in every form, nothing panics or hangs,
// the rules of the judge hold, memory stays within its limits, a connection that has no part in it keeps its bytes, and
// after the end nothing is left.
func FuzzSource(f *testing.F) {
	fuzzScripts(f, 40, func(script []byte) { f.Add(script[0], script) })
	f.Fuzz(func(t *testing.T, mode byte, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			forms := []Form{V3, V3, V2, V1}
			s := newSourceScript(t, forms[mode%4], mode%4 == 0)
			defer s.end()
			witness := s.open(witnessService)
			synctest.Wait()
			s.drain()
			untouched := true
			for ; len(script) >= 4; script = script[4:] {
				b := script[:4]
				if b[0]%16 == sessionReset && mode&4 == 0 {
					continue // hardly any conversation of some length would leave the connection beside alone
				}
				s.do(b)
				s.queued()
				untouched = untouched && b[0]%16 != sessionReset
			}
			s.far.in.stop(false)
			time.Sleep(2 * stall)
			s.drain()
			if s.over() {
				return
			}
			if untouched && s.form.Service {
				s.checkWitness(witness)
			}
			before := s.opened
			if c := s.open("LAST"); c != nil {
				if s.drain(); s.opened != before+1 {
					t.Error("afterwards nothing can be opened")
				}
			} else if s.form.Service {
				t.Error("afterwards nothing may be opened")
			}
		})
	})
}

const witnessService = "WITNESS"

// sourceScript plays the destination and the relay to a Source whose clients are pipes.
type sourceScript struct {
	t      *testing.T
	s      *Source
	form   Form
	far    *end
	back   splitter
	served chan error
	result error

	clients []net.Conn
	idle    []net.Conn                 // those that do what steps say
	starts  map[string][]frame.Message // as they were sent, by service
	said    map[string]int             // payload bytes that came through, by service
	opened  int                        // starts, of every service
}

func newSourceScript(t *testing.T, form Form, half bool) *sourceScript {
	t.Helper()
	near, far := newPair()
	far.in.limit = 1 << 30
	far.out.limit = 1 << 30
	j := judged(t, near, true)
	j.half = half
	s := &sourceScript{t: t, form: form, far: far, served: make(chan error, 1), starts: map[string][]frame.Message{}, said: map[string]int{}}
	s.s = NewSource(SourceConfig{Config: Config{Transport: j, Logger: slog.New(slog.DiscardHandler), Resume: registryIf(half)}, Form: form, Announced: true})
	s.s.lastID = 0
	go func() { s.served <- s.s.Serve() }()
	return s
}

// open begins a connection; nil when the source refuses it.
func (s *sourceScript) open(service string) net.Conn {
	s.t.Helper()
	local, client := net.Pipe()
	err := s.s.Open(service, local)
	if err == nil {
		s.clients = append(s.clients, client)
		return client
	}
	_, _ = local.Close(), client.Close()
	if !errors.Is(err, ErrBusy) && !errors.Is(err, ErrEnded) && !errors.Is(err, ErrFull) {
		s.t.Errorf("open: %v", err)
	}
	return nil
}

// do plays one step of four bytes.
func (s *sourceScript) do(b []byte) {
	s.t.Helper()
	switch what := b[0] % 16; what {
	default:
		m := frame.Message{
			Type: pick(fuzzTypes, b[1]), ServiceID: pick([]string{"A", "B", "A", "NONE", ""}, b[2]), Ignorable: b[1] >= 0x80,
			StreamID: pick([]int32{2, 3, 2, 4, 5, -7, 0, s.s.newest()}, b[3]), ConnectionID: pick([]uint32{1, 2, 3, 0, 4}, b[3]/8),
		}
		if m.Type == 99 && b[3]%64 != 0 {
			m.Ignorable = true // few shall end it all
		}
		if m.Type == frame.Data {
			m.Payload = make([]byte, pick(fuzzSizes, b[2]/8))
		}
		framed, err := m.AppendFrame(nil)
		if err != nil {
			s.t.Fatal(err)
		}
		_, _ = s.far.Write(framed)
	case 7, 8:
		if c := s.open(pick([]string{"A", "B"}, b[1])); c != nil {
			s.client(c, b[2])
		}
	case 9:
		s.drain()
	case 10:
		time.Sleep(pick(fuzzWaits, b[1]))
	case sessionReset:
		_, _ = s.far.Write(frames("SESSION_RESET"))
	case 12:
		s.far.in.stop(b[1]%2 == 0)
	case 13, 14, 15:
		if len(s.idle) == 0 {
			return
		}
		c := s.idle[int(b[1])%len(s.idle)]
		_ = c.SetDeadline(time.Now().Add(time.Millisecond))
		switch what {
		case 13:
			_ = c.Close()
		case 14:
			_, _ = c.Write(make([]byte, 1+int(b[2])*300))
		case 15:
			_, _ = io.ReadFull(c, make([]byte, 1+int(b[2])*300))
		}
	}
}

// client lets a client behave in one of several ways.
func (s *sourceScript) client(c net.Conn, how byte) {
	switch how % 4 {
	case 0: // it takes all and says nothing
		go func() { _, _ = io.Copy(io.Discard, c) }()
	case 1: // it answers
		go echo(c)
	case 2: // it says much, takes nothing and is gone
		go func() {
			_, _ = c.Write(make([]byte, 3*frame.MaxPayload))
			_ = c.Close()
		}()
	default: // it does nothing by itself
		s.idle = append(s.idle, c)
	}
}

// drain takes what the source has sent.
func (s *sourceScript) drain() {
	s.t.Helper()
	for {
		synctest.Wait()
		b := s.far.in.take()
		if len(b) == 0 {
			return
		}
		if err := s.back.add(b, s.note); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *sourceScript) note(m *frame.Message) {
	note := *m
	note.Payload = nil
	switch m.Type {
	case frame.StreamStart, frame.ConnectionStart:
		s.opened++
		s.starts[m.ServiceID] = append(s.starts[m.ServiceID], note)
	case frame.Data:
		s.said[m.ServiceID] += len(m.Payload)
	default:
	}
}

// checkWitness sends bytes both ways over a connection that had no part in anything.
func (s *sourceScript) checkWitness(c net.Conn) {
	s.t.Helper()
	starts := s.starts[witnessService]
	if len(starts) != 1 {
		s.t.Fatalf("the connection beside was started %d times", len(starts))
	}
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("still here")); err != nil {
		s.t.Errorf("the connection beside ended: %v", err)
	}
	s.drain()
	if n := s.said[witnessService]; n != len("still here") {
		s.t.Errorf("%d bytes of the connection beside came through, want %d", n, len("still here"))
	}
	m := starts[0]
	m.Type, m.Payload = frame.Data, []byte("and you")
	framed, err := m.AppendFrame(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = s.far.Write(framed)
	got := make([]byte, len(m.Payload))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, m.Payload) {
		s.t.Errorf("the connection beside got %q, %v", got, err)
	}
}

// queued checks the limits of what waits.
func (s *sourceScript) queued() {
	s.t.Helper()
	m := s.s.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.backlog.queued > tunnelLimit || len(m.conns) > maxConnections || len(m.streams) > maxStreams {
		s.t.Errorf("%d bytes, %d connections, %d streams", m.backlog.queued, len(m.conns), len(m.streams))
	}
}

// over reports whether the websocket has ended, which only what is no protocol may cause.
func (s *sourceScript) over() bool {
	s.t.Helper()
	select {
	case s.result = <-s.served:
		if _, ok := errors.AsType[*ProtocolError](s.result); !ok {
			s.t.Errorf("Serve ended: %v", s.result)
		}
		return true
	default:
		return false
	}
}

// end ends the websocket; nothing may be left.
func (s *sourceScript) end() {
	s.t.Helper()
	_ = s.far.Close(closeNormal, "")
	if s.result == nil {
		s.result = <-s.served
	}
	for _, c := range s.clients {
		_ = c.Close()
	}
	synctest.Wait()
	checkEmpty(s.t, s.s.mux)
}

// newest is the id of the stream that was begun last.
func (s *Source) newest() int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastID
}
