package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// A source probes a quiet stream, and has the answer. What its client says just before the probe's time is over has a time
// of its own: the destination may take a moment to confirm it.
func TestAnAnswerHasItsTimeFromWhenItIsAwaited(t *testing.T) {
	for name, window := range map[string]time.Duration{"the device keeps connections": resume.DefaultWindow, "it keeps none": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := echoing(t)
				r.far = resume.NewRegistry(window, resume.NewMemory(resume.DefaultMemory))
				r.near.Remember(resume.Peer{At: r.far.Address(), Keeps: window > 0})
				r.link(-1, -1)
				c := r.talk("hello")
				c.mustHear(t, "hello")
				time.Sleep(probeEvery + confirmTimeout - 100*time.Millisecond)
				_, _ = io.WriteString(c.says, "still here")
				c.mustHear(t, "still here")
				time.Sleep(time.Second)
				_, _ = io.WriteString(c.says, "and here")
				c.mustHear(t, "and here")
				if s := r.near.Stats(); s.Resumed != 0 {
					t.Errorf("%d connections were resumed", s.Resumed)
				}
			})
		})
	}
}

// lateReader is a websocket whose other end vanishes for a while without a word: what comes until then is lost.
type lateReader struct {
	*end
	until time.Time
}

func (l *lateReader) Read(p []byte) (int, error) {
	for {
		n, err := l.end.Read(p)
		if err != nil || !time.Now().Before(l.until) {
			return n, err
		}
	}
}

// A first OPEN is repeated when it was lost, though the websocket stays.
func TestAnOpenThatIsSwallowedIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := echoing(t)
		a, b := newPair()
		r.ends = []*end{a, b}
		r.serveDestination(&lateReader{end: a, until: time.Now().Add(time.Second)})
		r.source = NewSource(SourceConfig{Config: Config{Transport: b, Resume: r.near}, Form: V3})
		r.serving.Go(func() { _ = r.source.Serve() })
		c := r.talk("hello")
		heard := make(chan string, 1)
		go func() {
			b := make([]byte, len("hello"))
			_, _ = io.ReadFull(c.hears, b)
			heard <- string(b)
		}()
		time.Sleep(2 * confirmTimeout)
		synctest.Wait()
		select {
		case got := <-heard:
			if got != "hello" {
				t.Errorf("heard %q", got)
			}
		default:
			t.Error("the connection stands still")
		}
		r.mustHaveDialled(1)
	})
}

// A source's CLOSE may be due while the mark still waits for the websocket. The target must not take it for bytes.
func TestACloseDoesNotOvertakeTheMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target, heard, _ := newOneWay()
		r := newRig(t, func() (net.Conn, error) { return target, nil })
		r.link(-1, -1)
		r.ends[0].out.stop(true) // HELLO waits
		local, _, says := newOneWay()
		if err := r.source.Open("X", local); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(says, "some")
		synctest.Wait()
		r.ends[1].out.stop(true) // the source's sender waits with the next bytes in its hand
		_, _ = io.WriteString(says, "thing")
		synctest.Wait()
		r.ends[0].out.stop(false) // HELLO comes, the mark is due
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		over := make(chan struct{})
		go func() { defer close(over); r.source.Shutdown(ctx) }()
		synctest.Wait()
		r.ends[1].out.stop(false)
		began := time.Now()
		got, err := io.ReadAll(heard)
		if string(got) != "something" || !errors.Is(err, net.ErrClosed) {
			t.Errorf("the target heard %q, %v", got, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("its connection ended after %v", took)
		}
		<-over
	})
}
