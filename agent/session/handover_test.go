//go:build unix

package session

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
	"github.com/culvert-iot/culvert/test/harness"
)

// adopted is a TCP connection as the last process leaves it: its end here, and the target's.
func adopted(t *testing.T) (*os.File, net.Conn) {
	t.Helper()
	f, far, err := harness.FilePair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	return f, far
}

// leftBehind is the state of a last process with n connections.
func leftBehind(t *testing.T, n int) []byte {
	t.Helper()
	var left handedOver
	left.Identity.Address.Instance[0], left.Identity.Address.Accepted = 1, 1
	for i := range n {
		c := proxy.Saved{Service: "SSH"}
		c.Stream.Version, c.Stream.Window = 1, 64<<10
		c.Stream.ID[0] = byte(i + 1)
		left.Connections = append(left.Connections, c)
	}
	state, err := json.Marshal(left)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func resumable(c *Config) { c.ResumeTimeout = proxy.DefaultResumeTimeout }

// stuck is a tunnel that ends when it is told to by the test, and not by its context.
type stuck struct{ over <-chan struct{} }

func (s stuck) Stats() proxy.Stats { return proxy.Stats{} }

func (s stuck) Run(ctx context.Context) error {
	<-s.over
	return context.Cause(ctx)
}

// One websocket that cannot be closed must not cost the connections of all others.
func TestASlowTunnelDoesNotHoldUpTheHandOver(t *testing.T) {
	w := newWorld(t)
	f, far := adopted(t)
	over, put := make(chan struct{}), make(chan int, 1)
	m := w.manager(resumable, func(c *Config) {
		c.NewTunnel = func(proxy.DestinationConfig) Tunnel { return stuck{over} }
		c.HandOver = HandOver{
			Limit: 8, State: leftBehind(t, 1), Sockets: []*os.File{f},
			Put: func(_ []byte, sockets []*os.File) error { put <- len(sockets); return nil },
		}
	})
	if _, err := m.Resume(); err != nil {
		t.Fatal(err)
	}
	m.Accept(token("slow"))
	closed := make(chan error, 1)
	go func() { closed <- m.Close(t.Context()) }()
	select {
	case n := <-put:
		if n != 1 {
			t.Errorf("%d sockets are kept for the next process, want one", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing is handed over while one tunnel does not end")
	}
	close(over)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("this next process takes nothing, and the target hears %v", err)
	}
}

func TestTheHandOverComesInTime(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow = 3 * time.Second
		put := make(chan time.Time, 1)
		m := w.manager(resumable, func(c *Config) {
			c.HandOver = HandOver{
				Limit: 8, State: leftBehind(t, 0),
				Put: func([]byte, []*os.File) error { put <- time.Now(); return nil },
			}
		})
		if _, err := m.Resume(); err != nil {
			t.Fatal(err)
		}
		accept(t, m, "slow", Accepted)
		pass(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_ = m.Close(ctx) // the tunnel ends at the same moment
		// The service manager may need 2 s.
		select {
		case at := <-put:
			if after := at.Sub(began); after > time.Second {
				t.Errorf("put after %v of 3s", after)
			}
		default:
			t.Error("nothing is put when Close returns")
		}
		pass(time.Minute)
	})
}

// aged makes all connections of a state that old. Less than nothing: as a version wrote it that knew no age.
func aged(t *testing.T, state []byte, age time.Duration) []byte {
	t.Helper()
	var left map[string]any
	if err := json.Unmarshal(state, &left); err != nil {
		t.Fatal(err)
	}
	for _, c := range left["Connections"].([]any) {
		if c := c.(map[string]any); age < 0 {
			delete(c, "Age")
		} else {
			c["Age"] = age
		}
	}
	state, err := json.Marshal(left)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// A limit of the owner does not begin again because the daemon is restarted.
func TestTheMaxDurationGoesOnInTheNextProcess(t *testing.T) {
	for name, c := range map[string]struct {
		age   time.Duration
		lives bool
	}{
		"not over yet":              {time.Minute, true},
		"over":                      {time.Hour, false},
		"of an unknown, older kind": {-1, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f, far := adopted(t)
			var kept handedOver
			m := w.manager(resumable, func(cfg *Config) {
				cfg.Services = services.NewTable([]services.Service{{Name: "SSH", MaxDuration: time.Hour}})
				cfg.HandOver = HandOver{
					Limit: 8, State: aged(t, leftBehind(t, 1), c.age), Sockets: []*os.File{f},
					Put: func(state []byte, _ []*os.File) error { return json.Unmarshal(state, &kept) },
				}
			})
			start := time.Now()
			if _, err := m.Resume(); err != nil {
				t.Fatal(err)
			}
			if !c.lives {
				_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the target hears %v, want a reset", err)
				}
			}
			w.close(m)
			if !c.lives {
				if lines := w.logs.lines("connection closed"); len(lines) != 1 || !strings.Contains(lines[0], "reason=max_duration") {
					t.Errorf("the log does not say why it ended:\n%s", w.logs)
				} else if !strings.Contains(lines[0], "session=handed-over ") {
					t.Errorf("the log does not say where it came from: %s", lines[0])
				}
				return
			}
			if len(kept.Connections) != 1 {
				t.Fatalf("%d connections are kept for the process after it:\n%s", len(kept.Connections), w.logs)
			}
			least := max(c.age, 0)
			if age := kept.Connections[0].Age; age <= least || age > least+time.Since(start) {
				t.Errorf("the process after it is told %v, want %v and what this one took", age, least)
			}
		})
	}
}

// The service manager has longer than the disk.
func TestADiskThatHangsHasNoPartInTheTimeOfTheHandOver(t *testing.T) {
	for name, c := range map[string]struct{ put, want time.Duration }{
		"the manager is quick": {0, 3 * time.Second},
		"the manager is slow":  {4 * time.Second, 4 * time.Second},
		"the manager hangs":    {time.Hour, 3*time.Second + PutPatience},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				m := w.manager(func(cfg *Config) {
					cfg.files = &faults{slow: time.Minute}
					cfg.HandOver = HandOver{
						Limit: 8, State: leftBehind(t, 0),
						Put: func([]byte, []*os.File) error { time.Sleep(c.put); return nil },
					}
				})
				if _, err := m.Resume(); err != nil {
					t.Fatal(err)
				}
				m.Accept(token("unsaved"))
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				began := time.Now()
				if err := m.Close(ctx); err != nil || time.Since(began) != c.want {
					t.Errorf("closed after %v with %v, want after %v", time.Since(began), err, c.want)
				}
				pass(2 * time.Hour)
			})
		})
	}
}

// The store may have lost the state, or the last process may have died before it was put.
func TestSocketsThatBelongNowhereAreReset(t *testing.T) {
	for name, state := range map[string][]byte{
		"no state":               nil,
		"a broken state":         []byte("{"),
		"a state without an id":  []byte("{}"),
		"a state of fewer":       leftBehind(t, 0),
		"a connection of no use": []byte(`{"Identity":{"Address":{"Instance":[1]}},"Connections":[{"Service":"SSH"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f, far := adopted(t)
			m := w.manager(resumable, func(c *Config) { c.HandOver = HandOver{State: state, Sockets: []*os.File{nil, f}} })
			if name == "a connection of no use" {
				m.cfg.HandOver.Sockets = []*os.File{f}
			}
			if _, err := m.Resume(); err != nil {
				t.Fatal(err)
			}
			_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the target hears %v, want a reset", err)
			}
			lost := len(w.logs.lines("connections of the last process are lost")) + len(w.logs.lines("connection of the last process ends"))
			if name != "a state of fewer" && lost != 1 {
				t.Errorf("the log does not say that a connection is lost:\n%s", w.logs)
			}
		})
	}
}
