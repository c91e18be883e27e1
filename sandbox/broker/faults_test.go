package broker

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"
)

func TestKick(t *testing.T) {
	cfg, ca := newConfig(t)
	b := start(t, cfg)
	if b.Kick("pi-1-tunnel") {
		t.Error("kicked who was never there")
	}
	c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	c.session("pi-1-tunnel", false)
	if !b.Kick("pi-1-tunnel") {
		t.Error("kick found no client")
	}
	c.wantDrop()
	if b.Kick("pi-1-tunnel") || b.Kick("inline") {
		t.Error("kicked who is not connected")
	}
	c = dial(t, b.Addr(), deviceTLS(t, ca, thing))
	if !c.session("pi-1-tunnel", false) {
		t.Error("the kick ended the session")
	}
}

func TestOutageKeepsPortsAndSessions(t *testing.T) {
	cfg, ca := newConfig(t)
	var log logBuffer
	cfg.Logger = log.logger()
	cfg.ListenALPN = "127.0.0.1:0"
	b := start(t, cfg)
	device := deviceTLS(t, ca, thing)
	c := dial(t, b.Addr(), device)
	c.session("pi-1-tunnel", false)
	c.subscribed(1)
	before := [2]string{b.Addr(), b.ALPNAddr()}

	b.Stop()
	b.Stop()
	c.wantDrop()
	if !strings.Contains(log.String(), "reason=outage") {
		t.Errorf("log:\n%s", &log)
	}
	if conn, err := net.Dial("tcp", before[0]); err == nil {
		_ = conn.Close()
		t.Error("it listens during the outage")
	}
	if d, err := b.Publish(notify, []byte("meanwhile"), 1); err != nil || d != (Delivery{Stored: 1}) {
		t.Errorf("Publish during the outage = %+v, %v", d, err)
	}
	for range 2 {
		if err := b.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	if after := [2]string{b.Addr(), b.ALPNAddr()}; after != before || !b.Running() {
		t.Errorf("addresses %v, before %v", after, before)
	}
	c = dial(t, b.Addr(), device)
	if !c.session("pi-1-tunnel", false) {
		t.Error("the session is gone")
	}
	if pk := c.want(packets.Publish); string(pk.Payload) != "meanwhile" {
		t.Errorf("replayed %q", pk.Payload)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Restart(); err == nil {
		t.Error("a closed broker came back")
	}
}

func TestFreezeSwallowsEverything(t *testing.T) {
	cfg, ca := newConfig(t)
	b := start(t, cfg)
	c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	c.session("pi-1-tunnel", true)
	c.subscribed(1)
	b.Freeze(true)
	if !b.Frozen() {
		t.Error("not frozen")
	}
	if _, err := b.Publish(notify, []byte("late"), 1); err != nil {
		t.Fatal(err)
	}
	c.ping()
	if pk, err := c.recv(100 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("received packet %d, %v while frozen", pk.FixedHeader.Type, err)
	}
	b.Freeze(false)
	// A read deadline breaks a TLS connection only in the middle of a record, and no byte of one has arrived here.
	got := map[byte]bool{}
	for range 2 {
		pk, err := c.recv(soon)
		if err != nil {
			t.Fatal(err)
		}
		got[pk.FixedHeader.Type] = true
	}
	if diff := cmp.Diff(map[byte]bool{packets.Publish: true, packets.Pingresp: true}, got); diff != "" {
		t.Errorf("after the thaw (-want +got):\n%s", diff)
	}
	b.Freeze(true)
	b.Stop() // must not wait for the thaw
}
