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
	const address = "192.0.2.78"
	ip := func(what string) error {
		return exec.CommandContext(context.Background(), "ip", "address", what, address+"/32", "dev", "lo").Run()
	}
	if err := ip("add"); err != nil {
		t.Skip("addresses cannot be changed here: ", err)
	}
	defer func() { _ = ip("del") }()
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
	done := make(chan struct{})
	go func() {
		defer close(done)
		changes.Addresses(ctx, func() {
			if present, err := ownAddresses(); err == nil {
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
	<-time.After(100 * time.Millisecond)
	if err := ip("del"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended: //nolint:errcheck // only the end counts
	case <-time.After(5 * time.Second):
		t.Error("the connection is still waited on after 5 s")
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
