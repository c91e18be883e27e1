package connect_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func TestATunnelIsUsedAgainAndClosedByWhoOpenedIt(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	cfg := c.config()
	cfg.Keep = true
	first := openTunnel(t, cfg, "SSH")
	talk(t, dial(t, first, "SSH"), "one")
	talk(t, dial(t, first, "SSH"), "two")
	if err := first.Close(); err != nil || !first.Opened() {
		t.Errorf("close: %v", err)
	}
	eventually(t, "the first one is gone", func() bool {
		d, err := c.Store.Describe(first.ID())
		return err == nil && d.SourceState.Status == tunnels.Disconnected
	})
	cfg.Keep = false
	second := openTunnel(t, cfg, "SSH")
	talk(t, dial(t, second, "SSH"), "three")
	if second.ID() != first.ID() || second.Opened() {
		t.Errorf("tunnel %s was opened, though %s was there", second.ID(), first.ID())
	}
	third := openTunnel(t, cfg, "SSH") // the second one's is in use
	if third.ID() == second.ID() {
		t.Error("a live session was taken over")
	}
	_ = third.Close()
	_ = second.Close()
	if open := c.open(); !slices.Equal(open, []string{first.ID()}) {
		t.Errorf("open tunnels %v, want only the kept one", open)
	}
	select {
	case <-second.Done():
		if err := second.Err(); err != nil {
			t.Errorf("error after Close: %v", err)
		}
	default:
		t.Error("not done after Close")
	}
}

func TestALostLinkAndALostTokenAreReplaced(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	cfg, heard := c.config(), &news{}
	cfg.Progress = heard.event
	tunnel := openTunnel(t, cfg, "SSH")
	old := dial(t, tunnel, "SSH")
	talk(t, old, "before")
	c.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
	if n, err := old.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection outlived its link: %d bytes", n)
	}
	talk(t, dial(t, tunnel, "SSH"), "after the cut")
	if strings.Contains(heard.String(), "rotating the source's token") {
		t.Errorf("the tokens were spent on it:\n%s", heard)
	}
	if _, err := c.Store.Rotate(tunnel.ID(), tunnels.RotateSource, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new token is made", func() bool { return strings.Contains(heard.String(), "rotating the source's token") })
	talk(t, dial(t, tunnel, "SSH"), "with a new token")
}

func TestTheEndOfATunnelIsTold(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	t.Run("closed", func(t *testing.T) {
		tunnel := openTunnel(t, c.config(), "SSH")
		if err := c.Store.Close(tunnel.ID(), false); err != nil {
			t.Fatal(err)
		}
		<-tunnel.Done()
		wantReason(t, tunnel.Err(), connect.TunnelClosed)
		_, err := tunnel.Dial(within(t, time.Second), "SSH")
		wantReason(t, err, connect.TunnelClosed)
	})
	t.Run("taken over", func(t *testing.T) {
		cfg := c.config()
		first := openTunnel(t, cfg, "SSH")
		talk(t, dial(t, first, "SSH"), "mine")
		cfg.TakeOver = true
		second := openTunnel(t, cfg, "SSH")
		if second.ID() != first.ID() {
			t.Fatal("another tunnel was used")
		}
		<-first.Done()
		wantReason(t, first.Err(), connect.TakenOver)
		talk(t, dial(t, second, "SSH"), "yours")
	})
}

func TestADataEndpointThatIsOutOfReach(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	t.Run("a stranger's certificate", func(t *testing.T) {
		cfg := c.config()
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		_, err := connect.Open(within(t, 20*time.Second), cfg, "pi-1", "SSH")
		wantReason(t, err, connect.NoDataPlane)
	})
	t.Run("an absent device", func(t *testing.T) {
		cfg := c.config()
		cfg.DataEndpoint = "wss://127.0.0.1:1"
		_, err := connect.Open(within(t, 20*time.Second), cfg, "pi-1", "SSH")
		wantReason(t, err, connect.NoDataPlane)
	})
	if open := c.open(); len(open) > 0 {
		t.Errorf("tunnels are left open: %v", open)
	}
	t.Run("an address that is none opens no tunnel", func(t *testing.T) {
		before := len(c.Store.List("pi-1"))
		cfg := c.config()
		cfg.DataEndpoint = "https://127.0.0.1"
		_, err := connect.Open(within(t, 20*time.Second), cfg, "pi-1", "SSH")
		wantReason(t, err, connect.BadRequest)
		if n := len(c.Store.List("pi-1")); n != before {
			t.Errorf("%d tunnels were opened", n-before)
		}
	})
	t.Run("no TLS there", func(t *testing.T) {
		cfg := c.config()
		cfg.DataEndpoint = strings.Replace(c.APIURL, "http:", "wss:", 1)
		_, err := connect.Open(within(t, 20*time.Second), cfg, "pi-1", "SSH")
		wantReason(t, err, connect.NoDataPlane)
		if e, _ := errors.AsType[*connect.Error](err); !strings.Contains(e.Hint(), "does not speak TLS") {
			t.Errorf("hint %q", e.Hint())
		}
	})
}

func TestADeviceThatSpeaksV1Only(t *testing.T) {
	t.Parallel()
	for _, form := range []connect.DestinationType{connect.V1, connect.Auto} {
		t.Run(string(form), func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, deviceClient)
			cfg, heard := c.config(), &news{}
			cfg.Destination, cfg.Progress = form, heard.event
			tunnel := openTunnel(t, cfg, "SSH")
			conn := dial(t, tunnel, "SSH")
			talk(t, conn, "hello")
			talk(t, conn, "and more")
			if changed := strings.Contains(heard.String(), "speaks V1 only"); changed != (form == connect.Auto) {
				t.Errorf("told:\n%s", heard)
			}
		})
	}
	for drops, works := range map[int]bool{2: true, 100: false} {
		t.Run(fmt.Sprintf("and drops %d websockets more", drops), func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, func(ctx context.Context, cfg proxy.Connection) { v1Client(ctx, cfg, drops) })
			cfg := c.config()
			cfg.Destination = connect.Auto
			conn := dial(t, openTunnel(t, cfg, "SSH"), "SSH")
			if works {
				talk(t, conn, "hello")
				talk(t, conn, "and more")
				return
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			got, err := io.ReadAll(conn)
			if len(got) > 0 {
				t.Errorf("got %q, want no byte", got)
			}
			if e, ok := errors.AsType[*connect.Error](err); !ok || e.Reason != connect.ConnectionReset && e.Reason != connect.DeviceGone {
				t.Errorf("error %v, want one that says that the device has gone", err)
			}
		})
	}
	t.Run("a silent service of a Culvert is not taken for it", func(t *testing.T) {
		c := newCloud(t, culvertDevice(func(c net.Conn) {
			_ = c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
			_, _ = io.Copy(io.Discard, c)
			_, _ = io.WriteString(c, "at last")
		}))
		cfg, heard := c.config(), &news{}
		cfg.Destination, cfg.Progress = connect.Auto, heard.event
		conn := dial(t, openTunnel(t, cfg, "SSH"), "SSH")
		if got, err := io.ReadAll(conn); err != nil || string(got) != "at last" {
			t.Errorf("got %q, %v", got, err)
		}
		if strings.Contains(heard.String(), "V1") {
			t.Errorf("told:\n%s", heard)
		}
	})
}

func TestHalfCloseReachesACulvert(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	cfg := c.config()
	cfg.Destination = connect.Auto
	tunnel := openTunnel(t, cfg, "SSH")
	for range 2 { // the first connection is on trial, the second is not
		conn := dial(t, tunnel, "SSH")
		if _, err := io.WriteString(conn, "hello"); err != nil {
			t.Fatal(err)
		}
		if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestServeListensUntilTheTunnelEnds(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	tunnel := openTunnel(t, c.config(), "SSH")
	client, stop, served := serveLocally(t, tunnel, "SSH")
	defer stop()
	for range 3 {
		conn := client()
		talk(t, conn, "hello")
		_ = conn.Close()
	}
	_ = c.Store.Close(tunnel.ID(), false)
	wantReason(t, <-served, connect.TunnelClosed)
}

func TestASinkTakesItAll(t *testing.T) {
	const size = 300 << 10 // more than is kept on trial
	got := make(chan int64, 1)
	c := newCloud(t, culvertDevice(func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}))
	conn := dial(t, openTunnel(t, c.config(), "SSH"), "SSH")
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	if n := <-got; n != size {
		t.Errorf("%d bytes arrived, want %d", n, size)
	}
}

func TestATokenThatIsRefusedAgainAndAgainIsGivenUp(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(echo))
	c.Relay.Faults().Refuse(relay.Target{Side: tunnels.Source}, relay.Refusal{Count: 100, Status: 403, Body: "not here"})
	_, err := connect.Open(within(t, 20*time.Second), c.config(), "pi-1", "SSH")
	wantReason(t, err, connect.NoDataPlane)
	if err == nil || !strings.Contains(err.Error(), "not here") {
		t.Errorf("the service's own words are missing in %v", err)
	}
}
