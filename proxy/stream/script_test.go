package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// Tests write messages as "TYPE stream service#connection payload", for instance "DATA 1 SSH#2 hello".
// A V2 message has no "#connection", a V3 message on a tunnel without services nothing before it, and
// "-" is neither. "TYPE_99!" is an ignorable message.

func message(text string) frame.Message {
	word := strings.SplitN(text, " ", 4)
	var m frame.Message
	name, ignorable := strings.CutSuffix(word[0], "!")
	m.Type, m.Ignorable = typeNamed(name), ignorable
	if len(word) > 1 {
		n, err := strconv.ParseInt(word[1], 10, 32)
		if err != nil {
			panic(err)
		}
		m.StreamID = int32(n)
	}
	if len(word) > 2 && word[2] != "-" {
		service, connection, found := strings.Cut(word[2], "#")
		m.ServiceID = service
		if found {
			n, err := strconv.ParseUint(connection, 10, 32)
			if err != nil {
				panic(err)
			}
			m.ConnectionID = uint32(n)
		}
	}
	if len(word) > 3 {
		m.Payload = []byte(word[3])
	}
	if m.Type == frame.ServiceIDs && len(word) > 3 {
		m.Payload, m.AvailableServiceIDs = nil, strings.Fields(word[3])
	}
	return m
}

func typeNamed(name string) frame.Type {
	for t := frame.Unknown; t <= frame.ConnectionReset; t++ {
		if t.String() == name {
			return t
		}
	}
	n, err := strconv.Atoi(strings.TrimPrefix(name, "TYPE_"))
	if err != nil {
		panic(err)
	}
	return frame.Type(n)
}

func text(m *frame.Message) string {
	who := m.ServiceID
	if m.ConnectionID != 0 {
		who += fmt.Sprintf("#%d", m.ConnectionID)
	}
	if who == "" {
		who = "-"
	}
	s := fmt.Sprintf("%s %d %s", m.Type, m.StreamID, who)
	switch {
	case len(m.Payload) > 64:
		s += fmt.Sprintf(" <%d bytes>", len(m.Payload))
	case len(m.Payload) > 0:
		s += " " + string(m.Payload)
	}
	return s
}

// script plays the source and the relay to a Destination, inside a bubble of synctest: it sends messages,
// waits until all has come to rest, and looks at what came back. Targets are pipes.
//
// Services: ECHO answers, SINK takes, DEAF reads nothing (the test has the pipe), SLOW is DEAF but is
// connected only when the test says so; any other is refused.
type script struct {
	t       *testing.T
	d       *Destination
	far     *end
	judge   *judge
	log     *logLines
	back    splitter
	targets map[string][]*target
	connect chan struct{} // SLOW waits here
	only    net.Conn      // if set, the one target of any service
	any     bool          // other services are as DEAF
	fails   string        // is refused when SLOW is connected
	served  chan error
	mu      sync.Mutex
}

// target is the far end of a target's pipe, and what SINK received.
type target struct {
	net.Conn
	mu     sync.Mutex
	got    []byte
	closed bool
}

func (s *target) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return string(s.got) + "|" // the end
	}
	return string(s.got)
}

func (s *target) sink() {
	b := make([]byte, 64<<10)
	for {
		n, err := s.Read(b)
		s.mu.Lock()
		s.got = append(s.got, b[:n]...)
		s.closed = err != nil
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// answerAtEnd answers once the input has ended.
func answerAtEnd(reads io.Reader, writes net.Conn) {
	n, _ := io.Copy(io.Discard, reads)
	_, _ = fmt.Fprintf(writes, "%d bytes", n)
	_ = writes.Close()
}

// play starts a script. V1 streams go to the service of that name; "" makes them fail.
func play(t *testing.T, defaultService string) *script {
	t.Helper()
	return playWith(t, defaultService, Config{})
}

// playWith is play for a tunnel that is configured as cfg says: that it knows half close, or shares memory with others.
func playWith(t *testing.T, defaultService string, cfg Config) *script {
	t.Helper()
	near, far := newPair()
	s := &script{t: t, far: far, log: &logLines{}, targets: map[string][]*target{}, connect: make(chan struct{}), served: make(chan error, 1)}
	s.judge = judged(t, near, false)
	s.judge.half = cfg.Resume != nil
	cfg.Transport, cfg.Logger = s.judge, slog.New(s.log)
	s.d = NewDestination(DestinationConfig{
		Config: cfg,
		Dial:   s.dial,
		DefaultService: func([]string) (string, error) {
			if defaultService == "" {
				return "", errors.New("which service?")
			}
			return defaultService, nil
		},
	})
	go func() { s.served <- s.d.Serve() }()
	t.Cleanup(s.hangUp)
	return s
}

// hangUp ends all, also after a failure.
func (s *script) hangUp() {
	_ = s.far.Close(closeNormal, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, targets := range s.targets {
		for _, to := range targets {
			_ = to.Close()
		}
	}
}

func (s *script) dial(ctx context.Context, service string) (net.Conn, error) {
	if s.only != nil {
		return s.only, nil
	}
	a, b := net.Pipe()
	to := &target{Conn: b}
	switch service {
	case "ECHO":
		go echo(b)
	case "HALF":
		near, reads, writes := newOneWay()
		go answerAtEnd(reads, writes)
		return near, nil
	case "SINK":
		go to.sink()
	case "DEAF":
	case "SLOW":
		select {
		case <-s.connect:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	default:
		if s.any {
			break
		}
		if service == s.fails {
			<-s.connect
		}
		return nil, fmt.Errorf("service %s is not served here", service)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets[service] = append(s.targets[service], to)
	return a, nil
}

// target returns the i-th target of a service.
func (s *script) target(service string, i int) *target {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.targets[service]) {
		s.t.Fatalf("%s was connected %d times", service, len(s.targets[service]))
	}
	return s.targets[service][i]
}

// send sends messages, all in one websocket message.
func (s *script) send(messages ...string) {
	s.t.Helper()
	s.sendBytes(frames(messages...))
}

func frames(messages ...string) []byte {
	var b []byte
	for _, text := range messages {
		m := message(text)
		var err error
		if b, err = m.AppendFrame(b); err != nil {
			panic(err)
		}
	}
	return b
}

func (s *script) sendBytes(b []byte) {
	s.t.Helper()
	if _, err := s.far.Write(b); err != nil {
		s.t.Errorf("send: %v", err)
	}
}

// received returns what came back, once nothing moves any more without time passing.
func (s *script) received() []string {
	s.t.Helper()
	var all []string
	for {
		synctest.Wait()
		b := s.far.in.take()
		if len(b) == 0 {
			return all
		}
		if err := s.back.add(b, func(m *frame.Message) { all = append(all, text(m)) }); err != nil {
			s.t.Fatal(err)
		}
	}
}

// alive fails the test unless a new stream in that form carries bytes.
func (s *script) alive(form Form) {
	s.t.Helper()
	who := map[Form]string{V1: "-", V2: "ECHO", V3: "ECHO#1", {Connection: true}: "#1"}[form]
	s.send("STREAM_START 4711 "+who, "DATA 4711 "+who+" are you there?")
	got := s.received()
	if len(got) == 0 || got[len(got)-1] != "DATA 4711 "+who+" are you there?" {
		s.t.Errorf("afterwards the tunnel is dead: %q", got)
	}
	s.send("STREAM_RESET 4711 " + strings.TrimSuffix(who, "#1"))
	if got := s.received(); len(got) > 0 {
		s.t.Errorf("a reset was answered: %q", got)
	}
}

// end ends the websocket and returns what Serve returned.
func (s *script) end() error {
	s.t.Helper()
	_ = s.far.Close(closeNormal, "")
	err := <-s.served
	s.hangUp()
	synctest.Wait()
	checkEmpty(s.t, s.d.mux)
	return err
}

// checkEmpty fails the test when an ended mux still holds anything.
func checkEmpty(tb testing.TB, m *mux) {
	tb.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.conns) != 0 || len(m.streams) != 0 || m.backlog.queued != 0 || m.sched.fresh.n+m.sched.bulk.n != 0 {
		tb.Errorf("after the end: %d connections, %d streams, %d bytes queued, %d ready", len(m.conns), len(m.streams), m.backlog.queued, m.sched.fresh.n+m.sched.bulk.n)
	}
	for name, s := range m.stats.services {
		if s.Connections != 0 {
			tb.Errorf("after the end: %d connections of %q are counted", s.Connections, name)
		}
	}
}

// logLines keeps what is logged at Info and above.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *logLines) WithGroup(string) slog.Handler                    { return l }

func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *logLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// echo answers every byte until its peer ends.
func echo(c net.Conn) {
	defer c.Close()
	_, _ = io.Copy(c, c)
}

// oneWay is a pipe whose writing side can be closed alone.
type oneWay struct {
	net.Conn
	w *io.PipeWriter
}

func newOneWay() (near *oneWay, reads *io.PipeReader, writes net.Conn) {
	a, b := net.Pipe()
	r, w := io.Pipe()
	return &oneWay{a, w}, r, b
}

func (p *oneWay) Write(b []byte) (int, error)      { return p.w.Write(b) }
func (p *oneWay) SetWriteDeadline(time.Time) error { return nil }
func (p *oneWay) CloseWrite() error                { return p.w.Close() }

func (p *oneWay) Close() error {
	_ = p.w.CloseWithError(net.ErrClosed)
	return p.Conn.Close()
}
