package stream

import (
	"fmt"
	"sync"
	"testing"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// judge is a Transport that knows the rules for what one side may send, and fails the test at once when
// that side breaks one: sizes, types, no data of a connection before its start or after its reset, one
// reset a start, answers in the form of the start.
type judge struct {
	Transport
	tb     testing.TB
	source bool // the watched side starts streams

	mu       sync.Mutex
	in, out  splitter
	lives    map[connKey]*life
	streams  map[connKey]*life // with connection 0
	answered map[connKey]bool  // DATA was received
	sizes    []int             // of the messages sent
	sent     []frame.Message   // what was sent, without payloads
	sentIn   []int             // in which message each was
	forget   bool              // keep neither sizes nor sent
	half     bool              // half close may be spoken
	observer func(m *frame.Message)
}

type connKey struct {
	service string
	stream  int32
	conn    uint32
}

type life struct {
	starts, resets int
	form           Form
	mixed          bool    // started in more than one form
	said           int     // DATA without payload, sent since the start
	members        []*life // of a stream: its connections
}

func judged(tb testing.TB, transport Transport, source bool) *judge {
	return &judge{Transport: transport, tb: tb, source: source, lives: map[connKey]*life{}, streams: map[connKey]*life{}, answered: map[connKey]bool{}}
}

// splitter takes a stream of bytes in any pieces apart into messages.
type splitter struct {
	b      []byte
	broken bool
}

func (s *splitter) add(p []byte, each func(m *frame.Message)) error {
	if s.broken {
		return nil
	}
	if s.b = append(s.b, p...); len(s.b) == 0 {
		return nil
	}
	rest := s.b
	for len(rest) >= frame.LengthSize {
		n := frame.LengthSize + int(rest[0])<<8 + int(rest[1])
		if len(rest) < n {
			break
		}
		var m frame.Message
		if err := m.Unmarshal(rest[frame.LengthSize:n]); err != nil {
			s.broken = true
			return err
		}
		each(&m)
		rest = rest[n:]
	}
	s.b = s.b[:copy(s.b, rest)]
	return nil
}

func (j *judge) Read(p []byte) (int, error) {
	n, err := j.Transport.Read(p)
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = j.in.add(p[:n], func(m *frame.Message) { // the test may send what is malformed
		if !j.source && (m.Type == frame.StreamStart || m.Type == frame.ConnectionStart) {
			j.started(m)
		}
		if m.Type == frame.Data {
			j.answered[keyOf(m)] = true
		}
	})
	return n, err
}

func (j *judge) WriteBuffers(bufs ...[]byte) error {
	j.mu.Lock()
	size := 0
	for _, b := range bufs {
		size += len(b)
		if err := j.out.add(b, j.check); err != nil {
			j.tb.Errorf("sent what is no message: %v", err)
		}
	}
	if size == 0 || size > frame.MaxWebsocketMessage {
		j.tb.Errorf("message of %d bytes", size)
	}
	if !j.forget {
		j.sizes = append(j.sizes, size)
	}
	j.mu.Unlock()
	return j.Transport.WriteBuffers(bufs...)
}

func keyOf(m *frame.Message) connKey { return connKey{m.ServiceID, m.StreamID, connectionID(m)} }

func (j *judge) started(m *frame.Message) {
	form := formOf(m)
	form.Connection = form.Connection || m.Type == frame.ConnectionStart
	key := keyOf(m)
	stream, _ := begin(j.streams, connKey{key.service, key.stream, 0}, form)
	if l, isNew := begin(j.lives, key, form); isNew {
		stream.members = append(stream.members, l)
	}
}

func begin(lives map[connKey]*life, key connKey, form Form) (l *life, isNew bool) {
	l = lives[key]
	if isNew = l == nil; isNew {
		l = &life{form: form}
		lives[key] = l
	}
	l.starts++
	l.mixed = l.mixed || l.form != form
	return l, isNew
}

func (j *judge) check(m *frame.Message) {
	if j.observer != nil {
		j.observer(m)
	}
	if !j.forget {
		note := *m
		note.Payload = nil
		j.sent, j.sentIn = append(j.sent, note), append(j.sentIn, len(j.sizes))
	}
	key := keyOf(m)
	switch m.Type {
	case frame.StreamStart, frame.ConnectionStart:
		if !j.source {
			j.broken(m, "a destination starts nothing")
		}
		j.started(m)
	case frame.Data:
		if len(m.Payload) == 0 && !j.half || len(m.Payload) > frame.MaxPayload {
			j.broken(m, fmt.Sprintf("payload of %d bytes", len(m.Payload)))
		}
		if l := j.lives[key]; l == nil || l.resets >= l.starts {
			j.broken(m, "no such connection, or its reset was sent")
		} else {
			j.checkForm(m, l)
			j.checkHalf(m, l)
		}
	case frame.ConnectionReset:
		l := j.lives[key]
		if l == nil || l.resets >= l.starts {
			j.broken(m, "reset of what was not started, or twice")
			return
		}
		l.resets++
		j.checkForm(m, l)
	case frame.StreamReset:
		if m.ConnectionID != 0 {
			j.broken(m, "it names a connection")
		}
		l := j.streams[connKey{key.service, key.stream, 0}]
		if l == nil || l.resets >= l.starts {
			j.broken(m, "reset of what was not started, or twice")
			return
		}
		l.resets++
		if l.mixed {
			return // it may be of the form before, sent while the start in another was on its way
		}
		for _, of := range l.members { // of one that was started again since, the old life
			of.resets = min(of.resets+1, of.starts)
		}
	default:
		j.broken(m, "not for peers to send")
	}
}

func (j *judge) checkForm(m *frame.Message, l *life) {
	if !l.mixed && (m.ConnectionID != 0) != l.form.Connection {
		j.broken(m, "not in the form of its start, "+l.form.String())
	}
}

// checkHalf holds a side to what negotiate.go says of DATA without payload. Where a connection was started again it
// cannot be told which life a message is of.
func (j *judge) checkHalf(m *frame.Message, l *life) {
	if l.starts > 1 || len(m.Payload) > 0 {
		return
	}
	l.said++
	switch {
	case !l.form.Connection:
		j.broken(m, "an offer of records in a form that has none")
	case !j.source:
		j.broken(m, "only a source offers records, and marks where they begin")
	case l.said == 2 && !j.answered[keyOf(m)]:
		j.broken(m, "a mark for a peer that does not speak records")
	case l.said > 2:
		j.broken(m, "a mark twice")
	}
}

func (j *judge) broken(m *frame.Message, rule string) {
	j.tb.Errorf("sent %s: %s", text(m), rule)
}

// resets counts the resets of either kind that were sent.
func (j *judge) resets() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, m := range j.sent {
		if m.Type == frame.ConnectionReset || m.Type == frame.StreamReset {
			n++
		}
	}
	return n
}
