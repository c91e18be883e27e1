package stream

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// mustKeepNothing checks that neither end keeps a connection once both have a websocket.
func (r *rig) mustKeepNothing(when string) {
	r.t.Helper()
	if r.source.over() || r.destination.over() {
		r.cut()
		r.link(-1, -1)
	}
	time.Sleep(probeEvery)
	synctest.Wait()
	for name, y := range map[string]*resume.Registry{"source": r.near, "destination": r.far} {
		y.Lock()
		y.All(func(resume.Conn) { r.t.Errorf("%s: the %s still keeps a connection", when, name) })
		y.Unlock()
	}
}

// A client breaks its connection off, and the websocket is lost after any byte. On the next websocket the device drops
// the connection.
func TestAnEndThatTheWebsocketLostIsToldOnTheNext(t *testing.T) {
	t.Parallel()
	step := 1
	if raced || testing.Short() {
		step = 7
	}
	for cut := 0; cut < 300; cut += step {
		synctest.Test(t, func(t *testing.T) {
			r := echoing(t)
			r.link(cut, -1)
			local, hears, says := newOneWay()
			if r.source.Open("X", local) != nil {
				return // lost before it began
			}
			go func() { _, _ = says.Write([]byte("hello")) }()
			time.Sleep(10 * time.Millisecond)
			_ = hears.Close()
			_ = says.Close()
			_ = local.Close()
			time.Sleep(10 * time.Millisecond)
			r.mustKeepNothing(fmt.Sprintf("cut after %d bytes", cut))
		})
	}
}

// The device's websocket is lost, and the source's stands: the service resets the stream, and does not say that the
// end did not arrive.
func TestAnEndThatTheDeviceMissedIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		r.link(-1, -1)
		r.isPresent()
		c := r.talk("hello")
		c.mustHear(t, "hello")
		r.cut()

		relay := r.linkSource() // takes what the source says, as a service whose device is away
		time.Sleep(time.Second)
		r.source.mu.Lock()
		stream := *r.source.streams["X"]
		r.source.mu.Unlock()
		r.near.Lock()
		r.near.All(func(w resume.Conn) { w.(*connection).end(aborted, true) })
		r.near.Unlock()
		for range 3 {
			b, _ := (&frame.Message{Type: frame.StreamReset, StreamID: stream.id, ServiceID: "X"}).AppendFrame(nil)
			_, _ = relay.Write(b)
			time.Sleep(time.Second)
			r.source.mu.Lock()
			if s := r.source.streams["X"]; s == nil {
				t.Error("the end is not told again")
			} else {
				stream = *s
			}
			r.source.mu.Unlock()
		}
		r.cut()
		r.link(-1, -1)
		r.mustKeepNothing("after the device came back")
	})
}

// An end that was sent long before the loss has arrived: the source does not repeat it.
func TestAnEndThatHasArrivedIsNotToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		r.link(-1, -1)
		c := r.talk("hello")
		c.mustHear(t, "hello")
		r.near.Lock()
		r.near.All(func(w resume.Conn) { w.(*connection).end(aborted, true) })
		r.near.Unlock()
		time.Sleep(2 * time.Minute)
		r.cut()
		r.linkSource()
		synctest.Wait()
		r.source.mu.Lock()
		defer r.source.mu.Unlock()
		if len(r.source.streams) > 0 {
			t.Error("a stream was started for an end that had arrived")
		}
	})
}
