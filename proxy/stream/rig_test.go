package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// rig is a source and a destination whose websockets come and go.
type rig struct {
	t           testing.TB
	near, far   *resume.Registry // the source's and the destination's
	dial        func() (net.Conn, error)
	source      *Source
	destination *Destination
	ends        []*end
	serving     sync.WaitGroup
	budget      *Budget  // the destination's
	log         logLines // likewise
	dials       int
	opened      sync.Mutex
	closed      []Closed
}

func newRig(t testing.TB, dial func() (net.Conn, error)) *rig {
	t.Helper()
	r := &rig{t: t, dial: dial}
	r.near = resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
	r.far = resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
	t.Cleanup(func() {
		r.cut()
		for _, y := range []*resume.Registry{r.near, r.far} {
			stop(y)
			if n := y.Memory.Used(); n != 0 {
				t.Errorf("%d bytes are kept after the end", n)
			}
		}
	})
	return r
}

// link gives both ends a websocket. Each direction ends after so many bytes; less than none is never.
func (r *rig) link(up, down int) {
	a, b := newPair()
	r.ends = []*end{a, b}
	r.serveDestination(&ending{end: a, left: up})
	r.source = NewSource(SourceConfig{Config: Config{Transport: &ending{end: b, left: down}, Resume: r.near}, Form: V3})
	r.serving.Go(func() { _ = r.source.Serve() })
}

// serveDestination gives the destination a websocket.
func (r *rig) serveDestination(t Transport) {
	r.destination = NewDestination(DestinationConfig{
		Config: Config{
			Transport: t, Resume: r.far, Budget: r.budget, Logger: slog.New(&r.log), Observer: r.observe,
		},
		Dial: func(context.Context, string) (net.Conn, error) {
			r.opened.Lock()
			r.dials++
			dial := r.dial
			r.opened.Unlock()
			return dial()
		},
		DefaultService: func([]string) (string, error) { return "", errors.New("unused") },
	})
	d := r.destination
	r.serving.Go(func() { _ = d.Serve() })
}

// observe is the destination's Observer.
func (r *rig) observe(Opened) func(Closed) {
	return func(c Closed) {
		r.opened.Lock()
		defer r.opened.Unlock()
		r.closed = append(r.closed, c)
	}
}

// cut ends both websockets and waits until they are gone.
func (r *rig) cut() {
	for _, e := range r.ends {
		_ = e.Close(closeGoingAway, "")
	}
	r.serving.Wait()
}

// ending is an end of a link that breaks after so many bytes were read.
type ending struct {
	*end
	left int
}

func (e *ending) Read(p []byte) (int, error) {
	if e.left == 0 {
		_ = e.end.Close(closeGoingAway, "")
		return 0, io.EOF
	}
	if e.left > 0 {
		p = p[:min(len(p), e.left)]
	}
	n, err := e.end.Read(p)
	if e.left > 0 {
		e.left -= n
	}
	return n, err
}

// stop closes a registry and waits until its connections have reported their end.
func stop(y *resume.Registry) {
	y.Lock()
	y.Close(resume.Stopped)
	y.Unlock()
	y.Ending.Wait()
}
