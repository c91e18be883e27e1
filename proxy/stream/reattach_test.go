package stream

import (
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
)

// service plays the service between a source whose websocket stands and a device that comes and goes. While the device
// is away it answers each start with a reset.
type service struct {
	r      *rig
	source *end

	mu      sync.Mutex
	device  *end             // nil: away
	streams map[string]int32 // the active ones
	starts  int
}

// linkThrough gives the source a websocket to a service whose device is away.
func (r *rig) linkThrough() *service {
	a, b := newPair()
	s := &service{r: r, source: a, streams: make(map[string]int32)}
	r.ends = []*end{a, b}
	r.source = NewSource(SourceConfig{Config: Config{Transport: b, Resume: r.near}, Form: V3})
	r.serving.Go(func() { _ = r.source.Serve() })
	r.serving.Go(func() {
		in := frame.NewReader(a)
		for m := (frame.Message{}); in.Next(&m) == nil; {
			s.forward(&m)
		}
	})
	return s
}

func (s *service) forward(m *frame.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	starts := m.Type == frame.StreamStart || m.Type == frame.ConnectionStart
	switch {
	case s.device != nil:
		if starts {
			s.streams[m.ServiceID] = m.StreamID
		}
		s.write(s.device, m)
	case starts:
		s.starts++
		s.reset(m.ServiceID, m.StreamID)
	}
}

func (s *service) write(to *end, m *frame.Message) {
	b, err := m.AppendFrame(nil)
	if err != nil {
		s.r.t.Error(err)
	}
	_, _ = to.Write(b)
}

func (s *service) reset(service string, id int32) {
	s.write(s.source, &frame.Message{Type: frame.StreamReset, StreamID: id, ServiceID: service})
}

// comes gives the device a websocket, goes takes it away.
func (s *service) comes() {
	a, b := newPair()
	s.mu.Lock()
	s.device = a
	s.mu.Unlock()
	s.r.ends = append(s.r.ends[:2], a, b)
	s.r.serveDestination(b)
	s.r.serving.Go(func() {
		in := frame.NewReader(a)
		for m := (frame.Message{}); in.Next(&m) == nil; {
			s.mu.Lock()
			s.write(s.source, &m)
			s.mu.Unlock()
		}
	})
}

func (s *service) goes() {
	s.mu.Lock()
	_ = s.device.Close(closeGoingAway, "")
	s.device = nil
	for name, id := range s.streams {
		s.reset(name, id)
	}
	clear(s.streams)
	s.mu.Unlock()
	synctest.Wait()
}

// A device that loses its websocket again and again is found at once each time: what was lost long ago counts no more.
func TestEachLossIsMadeGoodAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		s := r.linkThrough()
		s.comes()
		c := r.talk("hello")
		c.mustHear(t, "hello")
		for range 100 {
			time.Sleep(2 * time.Second)
			s.goes()
			time.Sleep(300 * time.Millisecond)
			s.comes()
			began := time.Now()
			if _, err := io.WriteString(c.says, "k"); err != nil {
				t.Fatal(err)
			}
			c.mustHear(t, "k")
			if d := time.Since(began); d > 2*resumeDelay {
				t.Fatalf("the connection went on %v after the device was back", d)
			}
		}
		r.mustHaveDialled(1)
	})
}

// Many connections that wait for a device ask for it as often as a few do, and go on together.
func TestManyConnectionsWaitForADevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const connections, away = 500, 10
		r := echoing(t)
		s := r.linkThrough()
		s.comes()
		var clients []talker
		for range connections {
			c := r.talk("hello")
			c.mustHear(t, "hello")
			clients = append(clients, c)
		}
		time.Sleep(2 * time.Second)
		s.goes()
		time.Sleep(away * time.Second)
		s.mu.Lock()
		if s.starts > 2*away*int(time.Second/resumeSpacing) {
			t.Errorf("%d starts in %d s", s.starts, away)
		}
		s.mu.Unlock()
		s.comes()
		began := time.Now()
		for _, c := range clients {
			if _, err := io.WriteString(c.says, "k"); err != nil {
				t.Fatal(err)
			}
			c.mustHear(t, "k")
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("the connections went on %v after the device was back", d)
		}
		r.mustHaveDialled(connections)
	})
}
