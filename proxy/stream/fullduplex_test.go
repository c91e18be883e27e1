package stream

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// inOrder is a Transport whose probes are answered as the service answers them: behind all that is on its way to this
// side by then. A side that has stopped reading does not see them.
type inOrder struct {
	*end
	passed func(probe uint64)

	mu      sync.Mutex
	pushed  int // bytes that the far side has sent
	read    int
	answers []inOrderAnswer
}

type inOrderAnswer struct {
	behind int
	probe  uint64
}

func (p *inOrder) OnProbe(f func(probe uint64)) { p.passed = f }

func (p *inOrder) WriteProbe(probe uint64, bufs ...[]byte) error {
	if err := p.out.write(bufs...); err != nil {
		return err
	}
	p.mu.Lock()
	idle := p.read >= p.pushed
	if !idle {
		p.answers = append(p.answers, inOrderAnswer{p.pushed, probe})
	}
	p.mu.Unlock()
	if idle {
		p.passed(probe)
	}
	return nil
}

func (p *inOrder) Read(b []byte) (int, error) {
	p.mu.Lock()
	for len(p.answers) > 0 && p.answers[0].behind <= p.read {
		probe := p.answers[0].probe
		p.answers = p.answers[1:]
		p.mu.Unlock()
		p.passed(probe)
		p.mu.Lock()
	}
	p.mu.Unlock()
	n, err := p.end.Read(b)
	p.mu.Lock()
	p.read += n
	p.mu.Unlock()
	return n, err
}

// push sends as the far side.
func (p *inOrder) push(far *end, b []byte) error {
	p.mu.Lock()
	p.pushed += len(b)
	p.mu.Unlock()
	_, err := far.Write(b)
	return err
}

// A target that reads no more until what it writes is taken, such as an echo, has both directions depend on each
// other. The answers that the window waits for are behind the data that waits for the target: the tunnel must not
// wait for itself, and not take the target for one that does not read.
func TestATargetThatAnswersWhileItReadsIsNotHeldUpByTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 4 << 20
		near, far := newPair()
		p := &inOrder{end: near}
		log := &logLines{}
		d := NewDestination(DestinationConfig{
			Config: Config{Transport: p, Logger: slog.New(log)},
			Dial: func(context.Context, string) (net.Conn, error) {
				a, b := net.Pipe()
				go func() {
					_, _ = io.Copy(b, b)
					_ = b.Close()
				}()
				return a, nil
			},
		})
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = d.Serve()
		}()
		start := time.Now()
		go func() {
			if err := p.push(far, frames("STREAM_START 1 ECHO#1")); err != nil {
				return
			}
			payload := bytes.Repeat([]byte("x"), 32<<10)
			for sent := 0; sent < total; sent += len(payload) {
				m := frame.Message{Type: frame.Data, StreamID: 1, ServiceID: "ECHO", ConnectionID: 1, Payload: payload}
				b, err := m.AppendFrame(nil)
				if err == nil {
					err = p.push(far, b)
				}
				if err != nil {
					return
				}
			}
		}()
		in := frame.NewReader(far)
		var m frame.Message
		for got := 0; got < total; got += len(m.Payload) {
			if err := in.Next(&m); err != nil {
				t.Fatal(err)
			}
			if m.Type != frame.Data {
				t.Fatalf("after %d bytes and %v: %s\n%s", got, time.Since(start), text(&m), log.all())
			}
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%d bytes took %v on a path that takes no time", total, took)
		}
		_ = far.Close(closeNormal, "")
		<-served
	})
}
