package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// The websocket breaks after each byte of either direction in turn, and the next one after a few bytes of its own, so
// also in the middle of OPEN and RESUME. The applications hear all that was said, once, and the end of input. Only what
// a source says to a destination that it has never heard of is lost with the websocket.
func TestResumedAfterEachByteOfTheWire(t *testing.T) {
	t.Parallel()
	question, answer := noise(100, 1), noise(130, 2)
	step := 1
	if raced || testing.Short() {
		step = 13
	}
	for _, met := range []acquaintance{stranger, known, present} {
		for _, up := range []bool{true, false} {
			t.Run(fmt.Sprintf("destination %s, up %v", met, up), func(t *testing.T) {
				t.Parallel()
				cut := 0
				for lost := true; lost && !t.Failed(); cut += step {
					synctest.Test(t, func(t *testing.T) {
						lost = talkThroughCut(t, question, answer, met, up, cut)
					})
				}
				if cut < len(question)+len(answer) {
					t.Errorf("only %d bytes went over the wire", cut)
				}
			})
		}
	}
}

// acquaintance is how well a source knows the destination.
type acquaintance string

const (
	stranger acquaintance = "never heard"
	known    acquaintance = "heard on another websocket"
	present  acquaintance = "heard just now"
)

// talkThroughCut reports whether the websocket was lost before both applications had heard all.
func talkThroughCut(t *testing.T, question, answer []byte, met acquaintance, up bool, cut int) (lost bool) {
	t.Helper()
	target, heard, says := newOneWay()
	r := newRig(t, func() (net.Conn, error) { return target, nil })
	if met != stranger {
		r.meet()
	}
	if up {
		r.link(cut, -1)
	} else {
		r.link(-1, cut)
	}
	if met == present {
		r.isPresent()
	}
	local, clientHears, clientSays := newOneWay()
	for r.source.Open("X", local) != nil { // it is lost already
		lost = true
		r.cut()
		r.link(-1, -1)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var wrong []string
	fail := func(format string, a ...any) {
		mu.Lock()
		defer mu.Unlock()
		wrong = append(wrong, fmt.Sprintf(format, a...))
	}
	talk := func(name string, w net.Conn, rd io.Reader, out, in []byte) {
		all.Go(func() {
			for p := out; len(p) > 0; {
				n := min(len(p), 40)
				if _, err := w.Write(p[:n]); err != nil {
					fail("%s: write: %v", name, err)
					break
				}
				p = p[n:]
				time.Sleep(time.Millisecond)
			}
			_ = w.Close()
		})
		all.Go(func() {
			got, err := io.ReadAll(rd)
			if err != nil || !bytes.Equal(got, in) {
				fail("%s: heard %d of %d bytes: %v", name, len(got), len(in), err)
			}
		})
	}
	talk("client", clientSays, clientHears, question, answer)
	talk("server", says, heard, answer, question)
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for i := 0; ; i++ {
		time.Sleep(100 * time.Millisecond)
		over := r.source.over() || r.destination.over()
		lost = lost || over
		select {
		case <-done:
			if _, heard := r.near.Peer(); heard && len(wrong) > 0 || r.dials != 1 {
				t.Errorf("cut after %d bytes, up %v, destination %s: dialled %d times; %q", cut, up, met, r.dials, wrong)
			} else if heard {
				r.mustKeepNothing(fmt.Sprintf("cut after %d bytes, up %v, destination %s", cut, up, met))
			}
			return lost
		default:
		}
		if i > 50 {
			t.Fatalf("hangs: source %+v, destination %+v", r.near.Stats(), r.far.Stats())
		}
		if over {
			r.cut()
			switch _, heard := r.near.Peer(); {
			case !heard: // the source does not know what has become of it
				for _, c := range []net.Conn{local, clientSays, target, says} {
					_ = c.Close()
				}
				<-done
				return lost
			case i > 6:
				r.link(-1, -1)
			case up:
				r.link(20+cut%60*i, -1)
			default:
				r.link(-1, 20+cut%60*i)
			}
		}
	}
}

func (m *mux) over() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended
}

// Bulk goes both ways over real sockets while the websocket is cut again and again.
func TestResumedBulk(t *testing.T) {
	t.Parallel()
	question, answer := noise(12<<20, 3), noise(8<<20, 4)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			var both sync.WaitGroup
			both.Add(2) // before the wait for both begins: the server is there once it was dialled
			talk := func(name string, c net.Conn, out, in []byte) {
				go func() {
					defer both.Done()
					defer c.Close()
					said := make(chan error, 1)
					go func() { said <- say(c, out) }()
					if err := errors.Join(listen(c, in), <-said); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}()
			}
			r := newRig(t, func() (net.Conn, error) {
				a, b := networks[network](t)
				talk("server", b, answer, question)
				return a, nil
			})
			r.meet()
			r.link(-1, -1)
			local, remote := networks[network](t)
			if err := r.source.Open("X", remote); err != nil {
				t.Fatal(err)
			}
			talk("client", local, question, answer)
			done := make(chan struct{})
			go func() { both.Wait(); close(done) }()
			cuts := 0
			for {
				select {
				case <-done:
					t.Logf("%d cuts", cuts)
					if cuts == 0 {
						t.Error("it was never cut")
					}
					return
				case <-time.After(time.Duration(5+rand.IntN(20)) * time.Millisecond):
					r.cut()
					r.link(-1, -1)
					cuts++
				}
			}
		})
	}
}

// An application that takes nothing stops its own connection, and nothing else.
func TestStalledApplicationHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		targets := make(chan *oneWay, 2)
		stalled, _, stalledSays := newOneWay()
		typing, typingHears, _ := newOneWay()
		targets <- stalled
		targets <- typing
		r := newRig(t, func() (net.Conn, error) { return <-targets, nil })
		r.link(-1, -1)
		var clients []net.Conn
		for range 2 {
			local, _, says := newOneWay()
			if err := r.source.Open("X", local); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, says)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		_ = stalledSays
		sent := 0
		go func() {
			for {
				n, err := clients[0].Write(make([]byte, 10_000))
				if sent += n; err != nil {
					return
				}
			}
		}()
		for range 600 {
			time.Sleep(time.Second)
			began := time.Now()
			if _, err := clients[1].Write([]byte("k")); err != nil {
				t.Fatal(err)
			}
			var b [1]byte
			if _, err := io.ReadFull(typingHears, b[:]); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(began); d > 5*time.Millisecond {
				t.Fatalf("a key took %v", d)
			}
		}
		if sent > 4*resume.InitialCredit {
			t.Errorf("%d bytes were taken for an application that takes nothing", sent)
		}
		if used := r.far.Memory.Used(); used > 2*resume.InitialCredit+1<<16 {
			t.Errorf("%d bytes wait for it", used)
		}
	})
}

// A connection that is not resumed ends with the window, at both ends, as a broken one.
func TestNotResumedWithinTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target, _, says := newOneWay()
		r := newRig(t, func() (net.Conn, error) { return target, nil })
		r.link(-1, -1)
		local, _, clientSays := newOneWay()
		if err := r.source.Open("X", local); err != nil {
			t.Fatal(err)
		}
		_, _ = clientSays.Write([]byte("hello"))
		time.Sleep(time.Second)
		r.cut()
		if s := r.far.Stats(); s.Detached != 1 {
			t.Fatalf("destination: %+v", s)
		}
		time.Sleep(resume.DefaultWindow - time.Second)
		if _, err := clientSays.Write([]byte("still there")); err != nil {
			t.Errorf("it ended early: %v", err)
		}
		time.Sleep(2 * time.Second)
		for name, c := range map[string]net.Conn{"client": clientSays, "server": says} {
			if _, err := c.Write([]byte("x")); err == nil {
				t.Errorf("%s: the connection is still open", name)
			}
		}
		synctest.Wait()
		r.opened.Lock()
		defer r.opened.Unlock()
		if len(r.closed) != 1 || r.closed[0].Reason != TunnelLost {
			t.Errorf("told %+v", r.closed)
		}
	})
}

// resets counts: the destination lost its state, so the source's connection is over at once.
func TestResumedWhereItIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target, _, _ := newOneWay()
		r := newRig(t, func() (net.Conn, error) { return target, nil })
		r.link(-1, -1)
		local, _, says := newOneWay()
		if err := r.source.Open("X", local); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.cut()
		r.far.Lock()
		r.far.Close(resume.Stopped)
		r.far.Unlock()
		r.far = resume.NewRegistry(resume.DefaultWindow, resume.NewMemory(resume.DefaultMemory))
		r.link(-1, -1)
		time.Sleep(time.Second)
		if _, err := says.Write([]byte("x")); err == nil {
			t.Error("the connection is still open")
		}
		if r.dials != 1 {
			t.Errorf("%d dials: resuming must never dial", r.dials)
		}
	})
}

// Many connections return together, after a stream reset that no end wrote and over new websockets.
func TestManyConnectionsReturn(t *testing.T) {
	t.Parallel()
	const n = 50
	r := newRig(t, func() (net.Conn, error) {
		a, b := networks["tcp"](t)
		go func() { defer b.Close(); _, _ = io.Copy(b, b) }()
		return a, nil
	})
	r.link(-1, -1)
	var all []net.Conn
	for range n {
		local, remote := networks["tcp"](t)
		defer local.Close()
		if err := r.source.Open("X", remote); err != nil {
			t.Fatal(err)
		}
		all = append(all, local)
	}
	echo := func(text string) {
		t.Helper()
		for i, c := range all {
			line := fmt.Sprintf("%s %d", text, i)
			_, _ = io.WriteString(c, line)
			b := make([]byte, len(line))
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadFull(c, b); err != nil || string(b) != line {
				t.Fatalf("connection %d: %q, %v", i, b, err)
			}
		}
	}
	echo("first")
	for i := range 3 {
		r.cut()
		r.link(-1, -1)
		echo(fmt.Sprintf("after cut %d", i))
	}
	for _, m := range []*mux{r.source.mux, r.destination.mux} {
		m.mu.Lock()
		m.endAll() // a SESSION_RESET
		m.mu.Unlock()
	}
	echo("after a session reset")
	if r.dials != n {
		t.Errorf("%d dials, want %d", r.dials, n)
	}
	if s := r.near.Stats(); s.Resumed < 4*n || s.Detached != 0 {
		t.Errorf("source: %+v", s)
	}
}
