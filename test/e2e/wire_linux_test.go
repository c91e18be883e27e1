package e2e

import (
	"net"
	"net/url"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// wire is the network between a device and the relay. It can drop all packets, as a lost network does: not even
// the other end's kernel answers.
type wire struct {
	l     *net.TCPListener
	relay string
	all   sync.WaitGroup

	mu     sync.Mutex
	ways   []*way
	hole   bool
	passes chan struct{} // closed while packets do
}

// way is one connection of the device.
type way struct {
	device, relay *net.TCPConn
	over          bool // neither end hears of the other any more
}

// cable lays a wire to the relay, as an option of a bed.
func cable(t *testing.T, relay string) (endpoint string) {
	t.Helper()
	u, err := url.Parse(relay)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l.(*net.TCPListener), relay: u.Host, passes: make(chan struct{})}
	close(w.passes)
	w.all.Go(w.accept)
	endpoint = "wss://" + l.Addr().String()
	wires.Store(endpoint, w)
	t.Cleanup(func() {
		wires.Delete(endpoint)
		w.close()
	})
	return endpoint
}

var wires sync.Map // by endpoint

// wireOf is the wire of a bed that was made with cable.
func wireOf(b *bed) *wire {
	w, found := wires.Load(b.endpoint)
	if !found {
		b.t.Fatal("the bed has no wire")
	}
	return w.(*wire)
}

func (w *wire) accept() {
	for {
		device, err := w.l.AcceptTCP()
		if err != nil {
			return
		}
		relay, err := net.Dial("tcp", w.relay)
		if err != nil {
			_ = device.Close()
			continue
		}
		one := &way{device: device, relay: relay.(*net.TCPConn)}
		w.mu.Lock()
		w.ways = append(w.ways, one)
		if w.hole {
			dropPackets(device, true)
		}
		w.mu.Unlock()
		w.all.Go(func() { w.pump(one, one.relay, device) })
		w.all.Go(func() { w.pump(one, device, one.relay) })
	}
}

// pump copies one direction, and waits while packets are dropped.
func (w *wire) pump(one *way, to, from *net.TCPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		passes := w.passes
		w.mu.Unlock()
		<-passes
		w.mu.Lock()
		over := one.over
		w.mu.Unlock()
		if over {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// drop drops all packets from now on, those that would open a connection too, or lets them pass again.
func (w *wire) drop(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hole == on {
		return
	}
	w.hole = on
	if on {
		w.passes = make(chan struct{})
	} else {
		close(w.passes)
	}
	dropPackets(w.l, on)
	for _, one := range w.ways {
		if !one.over {
			dropPackets(one.device, on)
		}
	}
}

// strand drops the packets of present connections for good; new ones work. With tell, the relay sees their end.
func (w *wire) strand(tell bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.ways {
		one.over = true
		dropPackets(one.device, true)
		if tell {
			_ = one.relay.Close()
		}
	}
}

// end closes the device's TCP connections without a close frame. With tell, the relay sees their end.
func (w *wire) end(tell bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.ways {
		one.over = true
		_ = one.device.CloseWrite()
		if tell {
			_ = one.relay.Close()
		}
	}
}

func (w *wire) close() {
	_ = w.l.Close()
	w.drop(false)
	w.mu.Lock()
	for _, one := range w.ways {
		_ = one.device.Close()
		_ = one.relay.Close()
	}
	w.mu.Unlock()
	w.all.Wait()
}

// dropPackets has the kernel drop what comes in for a socket, before it is acknowledged.
func dropPackets(c syscall.Conn, on bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) {
		if !on {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
			return
		}
		nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	})
}
