package agent

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/netdial"
)

// dialFunc opens a connection, as net.Dialer.DialContext does.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// links are the open TCP connections to AWS. When the device's address has changed, those that were made from
// the old one are dead, which TCP itself notices after minutes.
type links struct {
	mu     sync.Mutex
	open   map[*net.TCPConn]struct{}
	usable map[netip.Addr]bool // see moved
}

// dial returns a dialer whose connections are watched.
func (l *links) dial(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
			l.add(tcp)
		}
		return conn, err
	}
}

// through returns the dialer d with its connections watched, and its proxy's certificate judged by now. The watch is
// on the TCP connection itself: a proxy's TLS or SOCKS around it shows another type, and no address of this side's.
func (l *links) through(d *netdial.Dialer, now func() time.Time) dialFunc {
	d.Time = now
	d.Dial = l.dial(new(netdial.Dialer).DialContext)
	return d.DialContext
}

// add also forgets those that are closed.
func (l *links) add(conn *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if isClosed(c) {
			delete(l.open, c)
		}
	}
	if l.open == nil {
		l.open = make(map[*net.TCPConn]struct{})
	}
	l.open[conn] = struct{}{}
}

func isClosed(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}

// drop ends the reads of the connections whose own address is none of the present ones, and returns how
// many there were. Their owners then connect again.
func (l *links) drop(present []netip.Addr) int {
	here := make(map[netip.Addr]bool, len(present))
	for _, a := range present {
		here[a.Unmap().WithZone("")] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	dropped := 0
	for c := range l.open {
		local, ok := c.LocalAddr().(*net.TCPAddr)
		if !ok || isClosed(c) {
			delete(l.open, c)
			continue
		}
		addr := local.AddrPort().Addr().Unmap().WithZone("")
		if addr.IsLoopback() || here[addr] {
			continue
		}
		_ = c.SetReadDeadline(time.Unix(1, 0))
		delete(l.open, c)
		dropped++
	}
	return dropped
}

// moved reports whether the addresses that this machine can connect from are others than at the last call.
func (l *links) moved(usable []netip.Addr) bool {
	here := make(map[netip.Addr]bool, len(usable))
	for _, a := range usable {
		here[a] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	moved := len(here) != len(l.usable)
	for a := range here {
		moved = moved || !l.usable[a]
	}
	l.usable = here
	return moved
}
