package stream

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// duplex is one end of a connection whose directions are pipes that know deadlines.
type duplex struct {
	net.Conn // what is read
	w        net.Conn
}

func (d duplex) Write(p []byte) (int, error)        { return d.w.Write(p) }
func (d duplex) SetWriteDeadline(t time.Time) error { return d.w.SetWriteDeadline(t) }
func (d duplex) CloseWrite() error                  { return d.w.Close() }

func (d duplex) Close() error { return errors.Join(d.w.Close(), d.Conn.Close()) }

// finished returns a rig whose client and target have both said all and ended. The client has not read the answer.
func finished(t *testing.T, window time.Duration, answer []byte) (r *rig, client io.Reader) {
	t.Helper()
	target, heard, says := newOneWay()
	r = newRig(t, func() (net.Conn, error) { return target, nil })
	r.near = resume.NewRegistry(window, resume.NewMemory(resume.DefaultMemory))
	r.link(-1, -1)
	near, question := net.Pipe()
	hears, writes := net.Pipe()
	if err := r.source.Open("X", duplex{near, writes}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(question, "question")
	_ = question.Close()
	if b, err := io.ReadAll(heard); err != nil || string(b) != "question" {
		t.Fatalf("the target heard %q, %v", b, err)
	}
	go func() {
		_, _ = says.Write(answer)
		_ = says.Close()
	}()
	time.Sleep(time.Second)
	synctest.Wait()
	return r, hears
}

// A client that is slow to read an answer has it, however short the time is for which connections wait for a websocket.
func TestAnAnswerWaitsForItsClient(t *testing.T) {
	for name, window := range map[string]time.Duration{"connections wait": resume.DefaultWindow, "they wait for 5 s": 5 * time.Second, "they do not": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := noise(60_000, 1)
				_, client := finished(t, window, answer)
				time.Sleep(time.Minute)
				if got, err := io.ReadAll(client); err != nil || string(got) != string(answer) {
					t.Errorf("the client read %d bytes of %d, %v", len(got), len(answer), err)
				}
			})
		})
	}
}

// The program's end does not wait for a client that reads nothing.
func TestALingeringAnswerEndsWithTheProgram(t *testing.T) {
	for name, window := range map[string]time.Duration{"connections wait": resume.DefaultWindow, "they do not": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := noise(60_000, 1)
				r, client := finished(t, window, answer)
				r.cut()
				began := time.Now()
				stop(r.near)
				if took := time.Since(began); took > time.Second {
					t.Errorf("the end took %v", took)
				}
				if got, _ := io.ReadAll(client); len(got) == len(answer) {
					t.Error("the client read all, though the program has ended")
				}
			})
		})
	}
}

// Where connections are not kept, one that has lost its websocket ends with it, though its application reads nothing. It
// outlives neither the websocket nor the program.
func TestAConnectionThatIsNotKeptEndsWithItsWebsocket(t *testing.T) {
	for name, source := range map[string]bool{"at the source": true, "at the destination": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				target, service := net.Pipe()
				local, client := net.Pipe()
				r := newRig(t, func() (net.Conn, error) { return target, nil })
				keepsNone := resume.NewRegistry(0, resume.NewMemory(resume.DefaultMemory))
				if source {
					r.near = keepsNone
				} else {
					r.far = keepsNone
				}
				r.link(-1, -1)
				if err := r.source.Open("X", local); err != nil {
					t.Fatal(err)
				}
				speaker := client
				if source {
					speaker = service
				}
				go func() { _, _ = speaker.Write(noise(60_000, 1)) }()
				time.Sleep(time.Second)
				synctest.Wait()
				r.cut()
				began := time.Now()
				stop(keepsNone)
				if took := time.Since(began); took > time.Second {
					t.Errorf("the end took %v", took)
				}
			})
		})
	}
}

// One direction has ended, and the other is silent for too long: that is no orderly end of it.
func TestASilentDirectionIsBrokenOff(t *testing.T) {
	for name, clientFirst := range map[string]bool{"the client has ended": true, "the target has ended": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				target, heard, says := newOneWay()
				r := newRig(t, func() (net.Conn, error) { return target, nil })
				r.link(-1, -1)
				c := r.talk("half")
				go func() { _, _ = io.WriteString(says, "half") }()
				for _, hears := range []io.Reader{heard, c.hears} {
					if _, err := io.ReadFull(hears, make([]byte, 4)); err != nil {
						t.Fatal(err)
					}
				}
				ends, hears := c.says.(net.Conn), c.hears
				if !clientFirst {
					ends, hears = says, heard
				}
				_ = ends.Close()
				time.Sleep(halfTimeout + time.Minute)
				if _, err := io.ReadAll(hears); !errors.Is(err, net.ErrClosed) {
					t.Errorf("the silent direction ended with %v", err)
				}
			})
		})
	}
}

// limitedTarget breaks off for a limit of its own.
type limitedTarget struct{ *oneWay }

var errTooLong = errors.New("open for too long")

func (limitedTarget) Expired() error { return errTooLong }

func (l limitedTarget) Read(p []byte) (int, error) {
	if n, err := l.oneWay.Read(p); err == nil {
		return n, nil
	}
	return 0, errTooLong
}

// When a service's own limit ends a connection, the operator sees that limit, and not a reset by the application.
func TestATargetsOwnLimitIsToldToThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target, _, says := newOneWay()
		r := newRig(t, func() (net.Conn, error) { return limitedTarget{target}, nil })
		r.meet()
		a, b := newPair()
		r.ends = []*end{a, b}
		r.serveDestination(a)
		var why Reason
		r.source = NewSource(SourceConfig{Config: Config{Transport: b, Resume: r.near, Observer: func(Opened) func(Closed) {
			return func(c Closed) { why = c.Reason }
		}}, Form: V3})
		r.serving.Go(func() { _ = r.source.Serve() })
		_ = r.talk("hello")
		time.Sleep(time.Second)
		_ = says.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if why != PeerLimit {
			t.Errorf("the source's reason is %q", why)
		}
	})
}
