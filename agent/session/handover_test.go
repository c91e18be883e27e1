//go:build unix

package session

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
)

// adopted is a TCP connection as the last process leaves it: its end here, and the target's.
func adopted(t *testing.T) (*os.File, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	f, err := near.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	return f, far
}

// leftBehind is the state of a last process with n connections.
func leftBehind(t *testing.T, n int) []byte {
	t.Helper()
	var left handedOver
	left.Identity.Address.Instance[0], left.Identity.Address.Accepted = 1, 1
	for i := range n {
		c := proxy.Saved{Service: "SSH", Began: time.Now()}
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

// The last process may have died before its state, which is put last.
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
