package stream

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
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
	begun   map[place]bool
	strays  int // bytes for connections that had not begun
}

type place struct {
	stream     int32
	connection uint32
}

// linkThrough gives the source a websocket to a service whose device is away.
func (r *rig) linkThrough() *service {
	a, b := newPair()
	s := &service{r: r, source: a, streams: make(map[string]int32), begun: make(map[place]bool)}
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
	switch at := (place{m.StreamID, m.ConnectionID}); {
	case starts:
		s.begun[at] = true
	case m.Type == frame.Data && !s.begun[at]:
		s.strays += len(m.Payload)
	}
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

// A connection may come to be carried in records, and its stream be lost and come back, while the sender reads from the
// application: what it has read goes out once the device has answered in the new place.
func TestAStreamThatComesBackDuringARead(t *testing.T) {
	near, target := networks["tcp"](t)
	dialled := make(chan struct{})
	r := newRig(t, func() (net.Conn, error) { close(dialled); return near, nil })
	s := r.linkThrough()
	s.comes()
	s.source.out.stop(true) // the device's HELLO waits
	m := r.source.mux
	find := func() (c *connection) {
		for _, st := range m.streams {
			for _, c = range st.conns {
				return c
			}
		}
		return nil
	}
	locked := func(f func() bool) func() bool {
		return func() bool { m.mu.Lock(); defer m.mu.Unlock(); return f() }
	}
	var met atomic.Bool
	testYield = func() {
		var c *connection
		if !locked(func() bool { c = find(); return c != nil && c.reading && c.offered })() || !met.CompareAndSwap(false, true) {
			return
		}
		s.source.out.stop(false)
		waitFor(t, locked(func() bool { return c.carried }))
		s.mu.Lock()
		s.reset("X", s.streams["X"])
		s.mu.Unlock()
		waitFor(t, locked(func() bool { return c.epoch >= 2 && !c.detached }))
	}
	defer func() { r.cut(); testYield = nil }()
	local, remote := networks["tcp"](t)
	defer local.Close()
	defer target.Close()
	if err := r.source.Open("X", remote); err != nil {
		t.Fatal(err)
	}
	<-dialled
	for _, pair := range [][2]net.Conn{{local, target}, {target, local}, {local, target}} {
		if _, err := io.WriteString(pair[0], "hello"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		_ = pair[1].SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(pair[1], got); err != nil || string(got) != "hello" {
			t.Fatalf("read %q, %v", got, err)
		}
	}
	if !met.Load() {
		t.Error("the stream was not lost during a read")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strays > 0 {
		t.Errorf("%d bytes went to a connection that had not begun", s.strays)
	}
}
