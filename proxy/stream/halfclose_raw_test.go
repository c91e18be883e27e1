package stream

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// rawPeer speaks frames to the side under test.
type rawPeer struct {
	t   *testing.T
	far *end
	in  *frame.Reader
}

func (p *rawPeer) send(all ...frame.Message) {
	p.t.Helper()
	var b []byte
	for _, m := range all {
		var err error
		if b, err = m.AppendFrame(b); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := p.far.Write(b); err != nil {
		p.t.Error(err)
	}
}

func (p *rawPeer) want(types ...frame.Type) {
	p.t.Helper()
	for _, want := range types {
		var m frame.Message
		if err := p.in.Next(&m); err != nil {
			p.t.Fatalf("%v, want %v", err, want)
		}
		if m.Type != want || m.Type == frame.Data && len(m.Payload) > 0 {
			p.t.Fatalf("got %v with %q, want %v", m.Type, m.Payload, want)
		}
	}
}

// wantData reads one message of data.
func (p *rawPeer) wantData(text string) {
	p.t.Helper()
	var m frame.Message
	if err := p.in.Next(&m); err != nil || m.Type != frame.Data || string(m.Payload) != text {
		p.t.Fatalf("got %v with %q (%v), want DATA with %q", m.Type, m.Payload, err, text)
	}
}

func dataFor(id uint32, text string) frame.Message {
	return frame.Message{Type: frame.Data, StreamID: 7, ServiceID: "X", ConnectionID: id, Payload: []byte(text)}
}

func startOf(id uint32) frame.Message {
	m := frame.Message{Type: frame.StreamStart, StreamID: 7, ServiceID: "X", ConnectionID: id}
	if id > 1 {
		m.Type = frame.ConnectionStart
	}
	return m
}

func rawToDestination(t *testing.T, dial func() (net.Conn, error)) *rawPeer {
	t.Helper()
	near, far := newPair()
	d := NewDestination(DestinationConfig{
		Config: Config{Transport: near, HalfClose: true},
		Dial:   func(context.Context, string) (net.Conn, error) { return dial() },
	})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = d.Serve()
	}()
	t.Cleanup(func() {
		_ = far.Close(closeNormal, "")
		<-served
	})
	return &rawPeer{t, far, frame.NewReader(far)}
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

func TestADestinationFollowsTheSource(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, p *rawPeer, reads io.Reader, writes net.Conn)
	}{
		{"it says that it knows half close where the source did", func(_ *testing.T, p *rawPeer, _ io.Reader, _ net.Conn) {
			p.send(startOf(1), dataFor(1, ""))
			p.want(frame.Data)
		}},
		{"and nowhere else: later empty messages say nothing", func(t *testing.T, p *rawPeer, reads io.Reader, writes net.Conn) {
			p.send(startOf(1), dataFor(1, "a"), dataFor(1, ""), dataFor(1, "b"), dataFor(1, ""))
			b := make([]byte, 2)
			if _, err := io.ReadFull(reads, b); err != nil || string(b) != "ab" {
				t.Errorf("%q, %v", b, err)
			}
			_ = writes.Close()
			p.want(frame.ConnectionReset)
		}},
		{"the end of input reaches the target behind the data, and the target can answer", func(t *testing.T, p *rawPeer, reads io.Reader, writes net.Conn) {
			p.send(startOf(1), dataFor(1, ""), dataFor(1, "question"), dataFor(1, ""))
			p.want(frame.Data)
			if b, err := io.ReadAll(reads); err != nil || string(b) != "question" {
				t.Errorf("%q, %v", b, err)
			}
			_, _ = writes.Write([]byte("answer"))
			p.wantData("answer")
			_ = writes.Close()
			p.want(frame.Data) // this end is in order
			p.want(frame.ConnectionReset)
		}},
		{"the target's end is told, and the source goes on", func(t *testing.T, p *rawPeer, reads io.Reader, writes net.Conn) {
			p.send(startOf(1), dataFor(1, ""))
			p.want(frame.Data)
			_, _ = writes.Write([]byte("bye"))
			p.wantData("bye")
			_ = writes.Close()
			p.want(frame.Data)
			p.send(dataFor(1, "more"))
			b := make([]byte, 4)
			if _, err := io.ReadFull(reads, b); err != nil || string(b) != "more" {
				t.Errorf("%q, %v", b, err)
			}
			p.send(dataFor(1, ""))
			p.want(frame.ConnectionReset)
			if b, err := io.ReadAll(reads); err != nil || len(b) != 0 {
				t.Errorf("%q, %v", b, err)
			}
		}},
		{"a reset after the end of input ends all", func(t *testing.T, p *rawPeer, reads io.Reader, writes net.Conn) {
			p.send(startOf(1), dataFor(1, ""), dataFor(1, "x"), dataFor(1, ""))
			p.want(frame.Data)
			if b, err := io.ReadAll(reads); err != nil || string(b) != "x" {
				t.Errorf("%q, %v", b, err)
			}
			p.send(frame.Message{Type: frame.ConnectionReset, StreamID: 7, ServiceID: "X", ConnectionID: 1})
			if _, err := io.ReadAll(writes); err != nil {
				t.Error(err)
			}
			p.send(startOf(2))
		}},
		{"data after the end of input is dropped", func(t *testing.T, p *rawPeer, reads io.Reader, writes net.Conn) {
			p.send(startOf(1), dataFor(1, ""), dataFor(1, ""), dataFor(1, "late"), dataFor(1, ""))
			p.want(frame.Data)
			if b, err := io.ReadAll(reads); err != nil || len(b) != 0 {
				t.Errorf("%q, %v", b, err)
			}
			_ = writes.Close()
			p.want(frame.Data) // this end is in order
			p.want(frame.ConnectionReset)
		}},
		{"a target that takes nothing after its own end is given up", func(_ *testing.T, p *rawPeer, reads io.Reader, writes net.Conn) {
			p.send(startOf(1), dataFor(1, ""))
			p.want(frame.Data)
			_ = writes.Close()
			p.want(frame.Data)
			_ = reads.(*io.PipeReader).Close()
			p.send(dataFor(1, "nobody reads this"))
			p.want(frame.ConnectionReset)
		}},
		{"a target that ends before the source's first message is there", func(t *testing.T, p *rawPeer, reads io.Reader, writes net.Conn) {
			_ = writes.Close()
			p.send(startOf(1))
			time.Sleep(firstTimeout / 2)
			p.send(dataFor(1, ""))
			p.want(frame.Data, frame.Data) // it knows half close; its input has ended
			p.send(dataFor(1, "answer"), dataFor(1, ""))
			p.want(frame.ConnectionReset)
			if b, err := io.ReadAll(reads); err != nil || string(b) != "answer" {
				t.Errorf("%q, %v", b, err)
			}
		}},
		{"the end of a target waits for a silent source, but not long", func(t *testing.T, p *rawPeer, _ io.Reader, writes net.Conn) {
			_ = writes.Close()
			begin := time.Now()
			p.send(startOf(1))
			p.want(frame.ConnectionReset)
			if d := time.Since(begin); d != firstTimeout {
				t.Errorf("reset after %v, want %v", d, firstTimeout)
			}
		}},
		{"and not at all for one that sent something else", func(t *testing.T, p *rawPeer, _ io.Reader, writes net.Conn) {
			_ = writes.Close()
			begin := time.Now()
			p.send(startOf(1))
			synctest.Wait()
			p.send(dataFor(1, "x"))
			p.want(frame.ConnectionReset)
			if d := time.Since(begin); d != 0 {
				t.Errorf("reset after %v, want at once", d)
			}
		}},
		{"a half-closed connection on which nothing moves ends", func(t *testing.T, p *rawPeer, reads io.Reader, writes net.Conn) {
			p.send(startOf(1), dataFor(1, ""), dataFor(1, ""))
			p.want(frame.Data)
			_, _ = io.ReadAll(reads)
			begin := time.Now()
			time.Sleep(halfTimeout - time.Second)
			_, _ = writes.Write([]byte("still here"))
			p.wantData("still here")
			p.want(frame.ConnectionReset)
			if d := time.Since(begin); d != 2*halfTimeout {
				t.Errorf("after %v, want %v", d, 2*halfTimeout)
			}
			_ = writes.Close()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, reads, writes := newOneWay()
				p := rawToDestination(t, func() (net.Conn, error) { return near, nil })
				tt.do(t, p, reads, writes)
				_ = writes.Close()
				_ = reads.Close()
			})
		})
	}
}

func TestTheEndOfInputWaitsForTheDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, reads, writes := newOneWay()
		p := rawToDestination(t, func() (net.Conn, error) {
			time.Sleep(3 * time.Second)
			return near, nil
		})
		p.send(startOf(1), dataFor(1, ""), dataFor(1, "early"), dataFor(1, ""))
		p.want(frame.Data)
		if b, err := io.ReadAll(reads); err != nil || string(b) != "early" {
			t.Errorf("%q, %v", b, err)
		}
		_, _ = writes.Write([]byte("answer"))
		p.wantData("answer")
		_ = writes.Close()
		p.want(frame.Data) // this end is in order
		p.want(frame.ConnectionReset)
	})
}

func TestATargetWithoutHalfCloseEndsAsTheProtocolSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, to := net.Pipe()
		p := rawToDestination(t, func() (net.Conn, error) { return near, nil })
		p.send(startOf(1), dataFor(1, ""), dataFor(1, "all of it"), dataFor(1, ""))
		p.want(frame.Data)
		if b, err := io.ReadAll(to); err != nil || string(b) != "all of it" {
			t.Errorf("%q, %v", b, err)
		}
		p.want(frame.Data) // this end is in order
		p.want(frame.ConnectionReset)
	})
}

// rawToSource is a destination of frames to a Source. open begins a connection, and returns the client's ends.
func rawToSource(t *testing.T) (p *rawPeer, open func() (reads *io.PipeReader, writes net.Conn)) {
	t.Helper()
	near, far := newPair()
	s := NewSource(SourceConfig{Config: Config{Transport: near, HalfClose: true}, Form: V3})
	s.lastID = 6
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve()
	}()
	t.Cleanup(func() {
		_ = far.Close(closeNormal, "")
		<-served
	})
	return &rawPeer{t, far, frame.NewReader(far)}, func() (*io.PipeReader, net.Conn) {
		local, reads, writes := newOneWay()
		if err := s.Open("X", local); err != nil {
			t.Fatal(err)
		}
		return reads, writes
	}
}

func TestASourceAndADestinationThatSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, open := rawToSource(t)
		reset := func(id uint32, after time.Duration, begin time.Time) {
			t.Helper()
			p.want(frame.ConnectionReset)
			if d := time.Since(begin); d != after {
				t.Errorf("connection %d: reset after %v, want %v", id, d, after)
			}
		}
		// The first one cannot know: it waits for an answer, and does not lose what comes meanwhile.
		begin := time.Now()
		reads, writes := open()
		p.want(frame.StreamStart, frame.Data)
		_ = writes.Close()
		p.send(dataFor(1, "hello"))
		b := make([]byte, 5)
		if _, err := io.ReadFull(reads, b); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		reset(1, defaultAnswerTimeout, begin)
		_ = reads.Close()
		// Now it is known.
		begin = time.Now()
		reads, writes = open()
		p.want(frame.ConnectionStart, frame.Data)
		_ = writes.Close()
		reset(2, 0, begin)
		_ = reads.Close()
	})
}

func TestASourceWaitsOnlyAtTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, open := rawToSource(t)
		reads, writes := open()
		p.want(frame.StreamStart, frame.Data)
		time.Sleep(defaultAnswerTimeout)
		_, _ = writes.Write([]byte("x"))
		p.wantData("x")
		begin := time.Now()
		_ = writes.Close()
		p.want(frame.ConnectionReset)
		if d := time.Since(begin); d != 0 {
			t.Errorf("reset after %v, want at once", d)
		}
		_ = reads.Close()
	})
}

// Where the destination has answered once, a later answer may be late: another connection's target holds it up.
func TestASourceIsPatientWithADestinationThatHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, open := rawToSource(t)
		firstReads, first := open()
		p.want(frame.StreamStart, frame.Data)
		p.send(dataFor(1, ""))
		synctest.Wait() // it has heard that
		reads, writes := open()
		p.want(frame.ConnectionStart, frame.Data)
		_ = writes.Close()
		time.Sleep(3 * defaultAnswerTimeout)
		p.send(dataFor(2, ""))
		p.want(frame.Data) // the end of its input, and not of the connection
		p.send(dataFor(2, "the answer"), dataFor(2, ""))
		p.want(frame.ConnectionReset)
		if b, err := io.ReadAll(reads); err != nil || string(b) != "the answer" {
			t.Errorf("%q, %v", b, err)
		}
		for _, c := range []io.Closer{reads, first, firstReads} {
			_ = c.Close()
		}
	})
}

func TestASourceAndADestinationThatAnswers(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, p *rawPeer, reads *io.PipeReader, writes net.Conn)
	}{
		{"the client's end is told once the answer is there", func(t *testing.T, p *rawPeer, reads *io.PipeReader, writes net.Conn) {
			_ = writes.Close()
			time.Sleep(defaultAnswerTimeout - time.Second)
			p.send(dataFor(1, ""))
			p.want(frame.Data)
			p.send(dataFor(1, "the answer"), dataFor(1, ""))
			p.want(frame.ConnectionReset)
			if b, err := io.ReadAll(reads); err != nil || string(b) != "the answer" {
				t.Errorf("%q, %v", b, err)
			}
		}},
		{"data may come before the answer", func(t *testing.T, p *rawPeer, reads *io.PipeReader, writes net.Conn) {
			p.send(dataFor(1, "banner"), dataFor(1, ""))
			b := make([]byte, 6)
			if _, err := io.ReadFull(reads, b); err != nil || string(b) != "banner" {
				t.Errorf("%q, %v", b, err)
			}
			_ = writes.Close()
			p.want(frame.Data)
			p.send(dataFor(1, "more"))
			b = b[:4]
			if _, err := io.ReadFull(reads, b); err != nil || string(b) != "more" {
				t.Errorf("%q, %v", b, err)
			}
		}},
		{"the server's end reaches the client, who goes on", func(t *testing.T, p *rawPeer, reads *io.PipeReader, writes net.Conn) {
			p.send(dataFor(1, ""), dataFor(1, "all"), dataFor(1, ""))
			if b, err := io.ReadAll(reads); err != nil || string(b) != "all" {
				t.Errorf("%q, %v", b, err)
			}
			_, _ = writes.Write([]byte("thanks"))
			p.wantData("thanks")
			_ = writes.Close()
			p.want(frame.Data) // this end is in order
			p.want(frame.ConnectionReset)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, open := rawToSource(t)
				reads, writes := open()
				p.want(frame.StreamStart, frame.Data)
				tt.do(t, p, reads, writes)
				_ = writes.Close()
				_ = reads.Close()
			})
		})
	}
}
