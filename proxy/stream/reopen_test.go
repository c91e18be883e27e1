package stream

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// echoing returns a rig whose targets answer what they are sent, and whose source has met the destination.
func echoing(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, func() (net.Conn, error) {
		target, reads, writes := newOneWay()
		go func() { _, _ = io.Copy(writes, reads); _ = writes.Close() }()
		return target, nil
	})
	r.meet()
	return r
}

// meet makes the source know the destination, as an earlier connection does.
func (r *rig) meet() { r.near.Remember(resume.Peer{At: r.far.Address(), Keeps: true}) }

// isPresent makes the source take the destination for one that it has just heard.
func (r *rig) isPresent() {
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	r.source.farEnd.present = true
}

// linkSource gives the source alone a websocket, whose other end takes everything and says what is written to it.
func (r *rig) linkSource() (far *end) {
	a, b := newPair()
	r.ends = []*end{a, b}
	r.source = NewSource(SourceConfig{Config: Config{Transport: b, Resume: r.near}, Form: V3})
	r.serving.Go(func() { _ = r.source.Serve() })
	r.serving.Go(func() { _, _ = io.Copy(io.Discard, a) })
	return a
}

// talker is a client that says something at once.
type talker struct {
	says  io.Writer
	hears io.Reader
}

func (r *rig) talk(text string) talker { return r.talkTo("X", text) }

func (r *rig) talkTo(service, text string) talker {
	r.t.Helper()
	local, hears, says := newOneWay()
	if err := r.source.Open(service, local); err != nil {
		r.t.Fatal(err)
	}
	_, _ = io.WriteString(says, text) // a reset may be faster; what was not said is not answered
	return talker{says, hears}
}

func (c talker) mustHear(t *testing.T, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c.hears, b); err != nil || string(b) != text {
		t.Fatalf("heard %q, %v, want %q", b[:n], err, text)
	}
}

func (c talker) mustBeReset(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if _, err := io.WriteString(c.says, "x"); err == nil {
		t.Error("the connection is still open")
	}
}

func (r *rig) mustHaveDialled(want int) {
	r.t.Helper()
	r.opened.Lock()
	defer r.opened.Unlock()
	if r.dials != want {
		r.t.Errorf("%d dials, want %d", r.dials, want)
	}
}

// restart replaces the destination's process.
func (r *rig) restart() {
	r.far.Lock()
	r.far.Close(resume.Stopped)
	r.far.Unlock()
	r.far = resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
}

func TestAConnectionThatIsOpenedWhileTheDeviceIsAway(t *testing.T) {
	t.Run("the link is lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			r.linkSource()
			c := r.talk("hello")
			time.Sleep(time.Second)
			r.cut()
			r.link(-1, -1)
			c.mustHear(t, "hello")
			r.mustHaveDialled(1)
		})
	})
	t.Run("the service resets it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			relay := r.linkSource()
			c := r.talk("hello")
			for range 5 { // the device is away for a while
				time.Sleep(100 * time.Millisecond)
				r.source.mu.Lock()
				s := r.source.streams["X"]
				r.source.mu.Unlock()
				if s == nil {
					continue
				}
				b, _ := (&frame.Message{Type: frame.StreamReset, StreamID: s.id, ServiceID: "X"}).AppendFrame(nil)
				_, _ = relay.Write(b)
			}
			r.cut()
			r.link(-1, -1)
			c.mustHear(t, "hello")
			r.mustHaveDialled(1)
		})
	})
	t.Run("it arrived, and the answer is lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			r.link(-1, 1)
			r.isPresent()
			c := r.talk("hello")
			time.Sleep(time.Second)
			r.cut()
			r.link(-1, -1)
			c.mustHear(t, "hello")
			r.mustHaveDialled(1)
		})
	})
}

// A daemon that was restarted cannot know what the one before it has dialled.
func TestAConnectionThatIsOpenedWhileTheDaemonRestarts(t *testing.T) {
	t.Run("before it is opened", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			r.restart()
			r.link(-1, -1)
			c := r.talk("hello")
			c.mustHear(t, "hello")
			r.mustHaveDialled(1)
			if peer, ok := r.near.Peer(); !ok || peer.At.Instance != r.far.Address().Instance {
				t.Error("the source does not know the new process")
			}
		})
	})
	t.Run("where nothing is kept", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			r.near = resume.NewRegistry(0, resume.NewMemory(resume.DefaultMemory))
			r.meet()
			r.restart()
			r.link(-1, -1)
			r.talk("hello").mustHear(t, "hello")
			r.mustHaveDialled(1)
		})
	})
	t.Run("while the device is away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			r.linkSource()
			c := r.talk("hello")
			time.Sleep(time.Second)
			r.cut()
			r.restart()
			r.link(-1, -1)
			c.mustHear(t, "hello")
			r.mustHaveDialled(1)
		})
	})
	t.Run("it may have arrived", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			r.linkSource()
			r.isPresent()
			c := r.talk("hello")
			time.Sleep(time.Second)
			r.cut()
			r.restart()
			r.link(-1, -1)
			time.Sleep(time.Second)
			c.mustBeReset(t)
			r.mustHaveDialled(0)
		})
	})
	t.Run("it has arrived", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			r.link(-1, 1)
			r.isPresent()
			c := r.talk("hello")
			time.Sleep(time.Second)
			r.cut()
			r.restart()
			r.link(-1, -1)
			time.Sleep(time.Second)
			c.mustBeReset(t)
			r.mustHaveDialled(1)
		})
	})
}

// The connection has come and gone before the source hears of it: it is over, and not dialled again.
func TestAConnectionThatEndedBeforeTheSourceHeardOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		dial := r.dial
		r.dial = func() (net.Conn, error) { return nil, io.ErrUnexpectedEOF }
		r.link(-1, 1)
		r.isPresent()
		c := r.talk("hello")
		time.Sleep(time.Second)
		r.cut()
		r.opened.Lock()
		r.dial = dial
		r.opened.Unlock()
		r.link(-1, -1)
		time.Sleep(time.Second)
		c.mustBeReset(t)
		r.mustHaveDialled(1)
	})
}

// A source's knowledge of a destination may be out of date: then the connection is reset, and the next one starts like
// a first one.
func TestADestinationThatSpeaksNoRecordsAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		relay := r.linkSource()
		c := r.talk("hello")
		synctest.Wait()
		r.source.mu.Lock()
		id := r.source.streams["X"].id
		r.source.mu.Unlock()
		b, _ := (&frame.Message{Type: frame.Data, StreamID: id, ServiceID: "X", ConnectionID: 1, Payload: []byte("SSH-2.0")}).AppendFrame(nil)
		_, _ = relay.Write(b)
		c.mustBeReset(t)
		if _, ok := r.near.Peer(); ok {
			t.Error("the source still takes it for one that does")
		}
	})
}

// A connection whose HELLO never arrived is of no use. Its target is not kept for as long as one that can be
// resumed.
func TestATargetWhoseSourceNeverHeardOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target, _, says := newOneWay()
		r := newRig(t, func() (net.Conn, error) { return target, nil })
		r.link(-1, 1)
		c := r.talk("hello")
		time.Sleep(time.Second)
		r.cut()
		c.mustBeReset(t)
		if s := r.far.Stats(); s.Detached != 1 {
			t.Errorf("destination: %+v", s)
		}
		time.Sleep(greetWait + time.Second)
		if s := r.far.Stats(); s.Detached != 0 || s.Expired != 1 {
			t.Errorf("destination, later: %+v", s)
		}
		if _, err := io.WriteString(says, "x"); err == nil {
			t.Error("the target is still open")
		}
	})
}

func TestADestinationThatIsFullSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		r.budget = NewBudget(BudgetConfig{Connections: 1})
		r.link(-1, -1)
		var all []talker
		for range connectionReserve {
			all = append(all, r.talk("one"))
		}
		for _, c := range all {
			c.mustHear(t, "one")
		}
		r.talk("too many").mustBeReset(t)
		r.mustHaveDialled(len(all))
		_, _ = io.WriteString(all[0].says, "two")
		all[0].mustHear(t, "two")
	})
}

// The target refuses before HELLO has gone out: nothing of the records may reach the client.
func TestATargetThatRefusesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func() (net.Conn, error) { return nil, io.ErrUnexpectedEOF })
		near, far := newPair()
		r.ends = []*end{near, far}
		d := NewDestination(DestinationConfig{
			Config:         Config{Transport: near, Resume: r.far},
			Dial:           func(context.Context, string) (net.Conn, error) { return r.dial() },
			DefaultService: func([]string) (string, error) { return "X", nil },
		})
		// The start and the empty DATA are handled before the sender has its turn.
		h := &rawRecords{t: t, stream: offeringID(false), far: far}
		d.mu.Lock()
		r.serving.Go(func() { _ = d.Serve() })
		h.send(h.start(), nil)
		d.mu.Unlock()
		in := frame.NewReader(far)
		var m frame.Message
		var got []resume.Type
		for in.Next(&m) == nil && m.Type == frame.Data {
			var rec resume.Record
			if err := rec.Parse(m.Payload); err != nil {
				t.Fatalf("%x: %v", m.Payload, err)
			}
			got = append(got, rec.Type)
		}
		if len(got) == 0 || got[0] != resume.Hello || got[len(got)-1] != resume.Close {
			t.Errorf("the source was sent records of type %v, want a HELLO first and a CLOSE last", got)
		}
	})
}

// However many connections and streams a websocket has, its loss is one line of the log, and their return another one.
func TestALostWebsocketIsOneLineOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		r.link(-1, -1)
		var all []talker
		for i := range 6 {
			all = append(all, r.talkTo([]string{"X", "Y", "Z"}[i%3], "hello"))
		}
		for _, c := range all {
			c.mustHear(t, "hello")
		}
		r.cut()
		time.Sleep(time.Second)
		r.link(-1, -1)
		for _, c := range all {
			_, _ = io.WriteString(c.says, "again")
			c.mustHear(t, "again")
		}
		time.Sleep(2 * logDelay)
		want := []string{"INFO connections wait to be resumed connections=6", "INFO connections resumed connections=6"}
		if got := r.log.all(); !slices.Equal(got, want) {
			t.Errorf("the log says %q, want %q", got, want)
		}
	})
}
