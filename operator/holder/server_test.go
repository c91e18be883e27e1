package holder

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/test/harness"
)

// noAPI refuses to look for tunnels, after a while.
type noAPI struct {
	connect.API

	takes time.Duration
	mu    sync.Mutex
	calls int
}

var errNoAPI = errors.New("no tunnels today")

func (a *noAPI) ListTunnels(ctx context.Context, _ *iot.ListTunnelsInput, _ ...func(*iot.Options)) (*iot.ListTunnelsOutput, error) {
	a.mu.Lock()
	a.calls++
	a.mu.Unlock()
	select {
	case <-time.After(a.takes):
		return nil, errNoAPI
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// heldForever is a tunnel that ends when it is closed, or told to.
type heldForever struct {
	tunnel

	once sync.Once
	done chan struct{}
}

func (h *heldForever) ID() string            { return "t" }
func (h *heldForever) Opened() bool          { return true }
func (h *heldForever) Services() []string    { return []string{"SSH"} }
func (h *heldForever) Expires() time.Time    { return time.Time{} }
func (h *heldForever) Done() <-chan struct{} { return h.done }
func (h *heldForever) Err() error            { return nil }
func (h *heldForever) Watch(context.Context) {}

func (h *heldForever) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// running is a holder that finds no tunnel, or one that stays.
type running struct {
	*harness.PipeListener

	api   *noAPI
	began time.Time
	done  chan struct{}
	err   error // after done
	left  int
	idle  atomic.Int32
	holds *heldForever // nil: there is no tunnel
}

func runServer(takes time.Duration) *running { return runServerThat(takes, nil) }

func runServerThat(takes time.Duration, holds *heldForever) *running {
	r := &running{
		holds:        holds,
		PipeListener: harness.NewPipeListener(),
		api:          &noAPI{takes: takes}, began: time.Now(), done: make(chan struct{}),
	}
	s := &Server{Thing: "pi-1", Version: "1", Config: connect.Config{API: r.api, DataEndpoint: "wss://127.0.0.1:1"}, Leave: func() func() {
		r.left++
		return func() {}
	}, Idle: func() { r.idle.Add(1) }}
	if holds != nil {
		s.openTunnel = func(ctx context.Context, _ connect.Config, _ string, _ []string) (tunnel, error) {
			_, err := r.api.ListTunnels(ctx, nil)
			if !errors.Is(err, errNoAPI) {
				return nil, err
			}
			return holds, nil
		}
	}
	go func() {
		defer close(r.done)
		r.err = s.Run(context.Background(), r)
	}()
	return r
}

func (r *running) dial() *link {
	near, _ := r.Dial(context.Background()) // only a closed listener fails
	return newLink(near)
}

// lived waits for the holder's end, and returns how long it lived.
func (r *running) lived() time.Duration {
	<-r.done
	return time.Since(r.began)
}

// attempt is a command that expects the tunnel, or that there is none.
func (r *running) attempt(t *testing.T, persist time.Duration) {
	t.Helper()
	l := r.dial()
	defer l.Close()
	a, err := l.request(context.Background(), Request{Version: "1", Op: opAttach, Services: []string{"SSH"}, Persist: persist}, func(connect.Event) {})
	if r.holds != nil {
		if err != nil || a.Error != nil {
			t.Errorf("%+v, %v", a, err)
		}
		return
	}
	if err != nil || a.Error == nil || !strings.Contains(a.Error.Text, errNoAPI.Error()) {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestHowLongAHolderLives(t *testing.T) {
	for name, tt := range map[string]struct {
		takes time.Duration
		use   func(t *testing.T, r *running)
		want  time.Duration
	}{
		"without a session": {0, func(*testing.T, *running) {}, firstUse},
		"when its tunnel has ended": {0, func(t *testing.T, r *running) {
			r.attempt(t, time.Hour)
			time.Sleep(14 * time.Minute)
			_ = r.holds.Close()
		}, 14*time.Minute + emptyTime},
		"not longer than its last session wants": {0, func(t *testing.T, r *running) {
			r.attempt(t, time.Minute)
			time.Sleep(time.Minute - time.Second)
			_ = r.holds.Close()
		}, time.Minute},
		"after its last session as long as that wants": {0, func(t *testing.T, r *running) {
			r.attempt(t, time.Hour)
			time.Sleep(14 * time.Minute)
			r.attempt(t, 15*time.Minute)
		}, 29 * time.Minute},
		"as long as it is used": {2 * time.Hour, func(t *testing.T, r *running) { r.attempt(t, time.Minute) }, 2*time.Hour + time.Minute},
		"no longer because it is asked for its state": {0, func(t *testing.T, r *running) {
			r.attempt(t, 10*time.Minute)
			time.Sleep(9 * time.Minute)
			l := r.dial()
			defer l.Close()
			a, err := l.request(context.Background(), Request{Op: opStatus}, nil)
			if err != nil || a.Status == nil || time.Until(a.Status.Ends) != time.Minute {
				t.Errorf("%+v, %v", a, err)
			}
		}, 10 * time.Minute},
		"until it is told to end": {0, func(t *testing.T, r *running) {
			r.attempt(t, time.Hour)
			l := r.dial()
			defer l.Close()
			if a, err := l.request(context.Background(), Request{Op: opClose}, nil); err != nil || a.Error != nil {
				t.Errorf("%+v, %v", a, err)
			}
		}, 0},
		"until another version comes": {0, func(t *testing.T, r *running) {
			r.attempt(t, time.Hour)
			l := r.dial()
			defer l.Close()
			a, err := l.request(context.Background(), Request{Version: "2", Op: opAttach, Services: []string{"SSH"}}, func(connect.Event) {})
			if err != nil || a.Error == nil || a.Error.Reason != reasonVersion {
				t.Errorf("%+v, %v", a, err)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := runServerThat(tt.takes, &heldForever{done: make(chan struct{})})
				tt.use(t, r)
				if d := r.lived(); d != tt.want || r.err != nil || r.left != 1 {
					t.Errorf("it lived for %v, want %v, and left its socket %d times: %v", d, tt.want, r.left, r.err)
				}
			})
		})
	}
}

// A command of an older version may look for its own holder where another one is now.
func TestAConnectionOfAnotherVersionIsNoReasonToGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runServerThat(0, &heldForever{done: make(chan struct{})})
		r.attempt(t, time.Minute)
		l := r.dial()
		a, err := l.request(context.Background(), Request{Version: "0", Op: opConnect, Services: []string{"SSH"}, Share: 1}, func(connect.Event) {})
		if err != nil || a.Error == nil || a.Error.Reason != reasonStopped {
			t.Errorf("%+v, %v", a, err)
		}
		_ = l.Close()
		if r.left != 0 {
			t.Error("the holder has left its socket")
		}
		r.attempt(t, time.Minute)
		if d := r.lived(); d != time.Minute {
			t.Errorf("it lived for %v", d)
		}
	})
}

// A command that got no tunnel leaves no process behind.
func TestAHolderWithoutATunnelEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runServer(2 * time.Second)
		r.attempt(t, time.Hour)
		time.Sleep(emptyTime - time.Second)
		r.attempt(t, time.Hour)
		if d, want := r.lived(), 2*time.Second+emptyTime-time.Second+2*time.Second+emptyTime; d != want {
			t.Errorf("it lived for %v, want %v", d, want)
		}
	})
}

// Two commands that want the same service wait for one search; a third that wants another one has its own search after
// that.
func TestOneTunnelIsLookedForAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runServer(10 * time.Second)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { r.attempt(t, time.Minute) })
		}
		all.Wait()
		if d := time.Since(r.began); d != 10*time.Second || r.api.calls != 1 {
			t.Errorf("3 commands took %v and %d searches", d, r.api.calls)
		}
		r.lived()
	})
}

// When the last command leaves, the holder ends its search, so that it opens no tunnel without a user.
func TestTheLastToWaitEndsTheSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runServer(time.Hour)
		l := r.dial()
		if err := l.writeJSON(frameRequest, Request{Version: "1", Op: opAttach, Services: []string{"SSH"}, Persist: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		_ = l.Close()
		if d := r.lived(); d != time.Second+emptyTime {
			t.Errorf("it lived for %v", d)
		}
	})
}

func TestNonsenseOnTheSocketDoesNoHarm(t *testing.T) {
	frame := func(kind byte, payload string) []byte {
		h := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
		return append(h, payload...)
	}
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"half a header":       {'r', 0},
		"half a payload":      frame('r', "{}")[:6],
		"a frame too long":    {'r', 0xff, 0xff, 0xff, 0xff},
		"another kind":        frame('d', "{}"),
		"no JSON":             frame('r', "{"),
		"JSON of another":     frame('r', `[1]`),
		"no operation":        frame('r', `{}`),
		"a strange operation": frame('r', `{"op":"nuke"}`),
		"an old version":      frame('r', `{"op":"status","version":"0"}`),
		"no services":         frame('r', `{"op":"attach","version":"1","persist":60000000000}`),
		"no connection":       frame('r', `{"op":"connect","version":"1","services":[],"persist":60000000000}`),
		"a strange service":   frame('r', `{"op":"connect","version":"1","services":["a b"],"persist":60000000000}`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := runServer(0)
				l := r.dial()
				go func() { _, _ = l.Write(b) }()
				// The holder answers, or gives a silent client up.
				kind, _, err := l.header()
				if d := time.Since(r.began); err == nil && kind != frameAnswer && kind != frameEvent || d > requestTime {
					t.Errorf("frame %q, %v after %v", kind, err, d)
				}
				_ = l.Close()
				r.attempt(t, time.Minute)
				r.lived()
			})
		})
	}
}

// FuzzSession feeds a holder any bytes that a program of the same user may write.
func FuzzSession(f *testing.F) {
	f.Add([]byte("r\x00\x00\x00\x02{}"))
	f.Add([]byte("r\x00\x00\x00\x28{\"op\":\"connect\",\"version\":\"1\",\"share\":1}d\x00\x00\x00\x01x"))
	f.Add([]byte("r\x00\x00\x00\x0f{\"op\":\"status\"}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte("close")) || bytes.Contains(b, []byte(`\u`)) {
			return // it may end the holder
		}
		synctest.Test(t, func(*testing.T) {
			r := runServer(0)
			l := r.dial()
			go func() { _, _ = io.Copy(io.Discard, l) }()
			_, _ = l.Write(b)
			_ = l.Close()
			r.lived()
		})
	})
}

func TestIdleIsCalledOnceAWhileAfterTheLastSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runServerThat(0, &heldForever{done: make(chan struct{})})
		for range 5 {
			r.attempt(t, time.Minute)
			time.Sleep(idleTime - time.Second)
		}
		if n := r.idle.Load(); n != 0 {
			t.Errorf("called %d times between sessions", n)
		}
		r.lived()
		if n := r.idle.Load(); n != 1 {
			t.Errorf("called %d times, want 1", n)
		}
	})
}
