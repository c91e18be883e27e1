package stream

import (
	"io"
	"net"
	"sync"
	"testing"
)

// mortal is a TCP connection that records how the kernel would close it if the process died.
type mortal struct {
	*net.TCPConn

	mu      sync.Mutex
	resets  bool
	atClose *bool // resets, when it was closed
}

func (c *mortal) SetLinger(seconds int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resets = seconds == 0
	return c.TCPConn.SetLinger(seconds)
}

func (c *mortal) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.atClose = new(bool)
	*c.atClose = c.resets
	return c.TCPConn.Close()
}

func (c *mortal) resetsNow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resets
}

func (c *mortal) closedInOrder() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.atClose != nil && !*c.atClose
}

// Until an application has its orderly end, the death of this process is a reset for it. The close itself must not be
// one, or it would drop what the kernel still has to send.
func TestADeathOfTheProcessIsAResetUntilTheEnd(t *testing.T) {
	t.Parallel()
	var target *mortal
	servers := make(chan net.Conn, 1)
	s, _, _ := halfTunnel(t, V3, true, true, false, func() (net.Conn, error) {
		near, server := networks["tcp"](t)
		target = &mortal{TCPConn: near.(*net.TCPConn)}
		servers <- server
		return target, nil
	})
	near, client := networks["tcp"](t)
	local := &mortal{TCPConn: near.(*net.TCPConn)}
	if err := s.Open("X", local); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(client, "question")
	server := <-servers
	if _, err := io.ReadFull(server, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if !target.resetsNow() || !local.resetsNow() {
		t.Errorf("open: the target sees a reset: %v, the client: %v; want both", target.resetsNow(), local.resetsNow())
	}
	_ = client.(*net.TCPConn).CloseWrite()
	if got := readAll(t, server); len(got) > 0 {
		t.Errorf("%q arrived after the end", got)
	}
	waitFor(t, func() bool { return !target.resetsNow() })
	if !local.resetsNow() {
		t.Error("the client, who waits for an answer, would see an orderly end")
	}
	_, _ = io.WriteString(server, "answer")
	_ = server.Close()
	if got := readAll(t, client); string(got) != "answer" {
		t.Errorf("%q arrived", got)
	}
	_ = client.Close()
	waitFor(t, target.closedInOrder)
	waitFor(t, local.closedInOrder)
}

// Without records the end of a connection is told as a reset of the tunnel's, after its last bytes.
func TestAConnectionWithoutRecordsIsClosedInOrder(t *testing.T) {
	t.Parallel()
	targets, servers := make(chan *mortal, 1), make(chan net.Conn, 1)
	s, _, _ := halfTunnel(t, V3, false, false, false, func() (net.Conn, error) {
		near, server := networks["tcp"](t)
		target := &mortal{TCPConn: near.(*net.TCPConn)}
		targets <- target
		servers <- server
		return target, nil
	})
	near, client := networks["tcp"](t)
	if err := s.Open("X", near); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(client, "all")
	_ = client.Close()
	target, server := <-targets, <-servers
	if got := readAll(t, server); string(got) != "all" {
		t.Errorf("%q arrived", got)
	}
	_ = server.Close()
	waitFor(t, target.closedInOrder)
}
