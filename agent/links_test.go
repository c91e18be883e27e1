package agent

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/changes"
)

// TestAConnectionFromAnAddressThatIsGoneEnds takes away the address that a connection was made from.
func TestAConnectionFromAnAddressThatIsGoneEnds(t *testing.T) {
	const address, other = "192.0.2.78", "192.0.2.79"
	ip := func(what, address string) error {
		return exec.CommandContext(context.Background(), "ip", "address", what, address+"/32", "dev", "lo").Run()
	}
	if err := ip("add", address); err != nil {
		t.Skip("addresses cannot be changed here: ", err)
	}
	defer func() { _ = ip("del", address) }()
	server, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var l links
	conn, err := l.dial(new(net.Dialer).DialContext)(t.Context(), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done, noticed := make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(done)
		changes.Addresses(ctx, func() {
			select {
			case noticed <- struct{}{}:
			default:
			}
			if present, _, err := changes.Own(); err == nil {
				l.drop(present)
			}
		})
	}()
	defer func() { cancel(); <-done }()
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	// A noticed change shows that the subscription works.
	for watched := false; !watched; {
		_ = ip("add", other)
		_ = ip("del", other)
		select {
		case <-noticed:
			watched = true
		case <-time.After(time.Second):
		case <-done:
			t.Skip("the kernel does not tell of addresses here")
		}
	}
	if err := ip("del", address); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended: //nolint:errcheck // only the end counts
	case <-time.After(20 * time.Second):
		t.Error("the connection is still waited on after 20 s")
	}
}

func TestLinksForgetWhatIsClosedAndSpareTheRest(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var l links
	dial := l.dial(new(net.Dialer).DialContext)
	for range 5 {
		conn, err := dial(t.Context(), "tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	conn, err := dial(t.Context(), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if len(l.open) != 1 {
		t.Errorf("%d are remembered", len(l.open))
	}
	if n := l.drop([]netip.Addr{netip.MustParseAddr("10.0.0.1")}); n != 0 {
		t.Errorf("%d of loopback were dropped", n)
	}
}
