package connect_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/wsconn"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// talkative says a word and then listens.
func talkative(c net.Conn) {
	_, _ = io.WriteString(c, "hello")
	_, _ = io.Copy(io.Discard, c)
}

func TestABrokenConnectionDoesNotLookComplete(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		breakIt func(*cloud, *connect.Tunnel)
		want    connect.Reason
	}{
		"the link": {func(c *cloud, _ *connect.Tunnel) { c.Relay.Faults().Cut(relay.Target{Side: tunnels.Source}) }, connect.LinkLost},
		"the device": {func(c *cloud, _ *connect.Tunnel) {
			c.Relay.Faults().Cut(relay.Target{Side: tunnels.Destination})
		}, connect.DeviceGone},
		"the tunnel": {func(c *cloud, tunnel *connect.Tunnel) { _ = c.Store.Close(tunnel.ID(), false) }, connect.TunnelClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, culvertDevice(talkative))
			cfg := c.config()
			cfg.Destination = connect.Auto
			tunnel := openTunnel(t, cfg, "SSH")
			conn := dial(t, tunnel, "SSH")
			if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			tt.breakIt(c, tunnel)
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			got, err := io.ReadAll(conn)
			if len(got) > 0 {
				t.Errorf("read %q", got)
			}
			wantReason(t, err, tt.want)
		})
	}
	t.Run("an orderly end is one", func(t *testing.T) {
		t.Parallel()
		c := newCloud(t, culvertDevice(func(c net.Conn) { _, _ = io.WriteString(c, "all of it") }))
		if got, err := io.ReadAll(dial(t, openTunnel(t, c.config(), "SSH"), "SSH")); err != nil || string(got) != "all of it" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// A device whose link blips while a request is being answered is not one that speaks V1, and the request is not
// sent again.
func TestARequestIsNeverSentTwice(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	serve := culvertDevice(func(c net.Conn) {
		request := make([]byte, 4)
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		if requests.Add(1) == 1 {
			_, _ = c.Read(request) // it takes its time
			return
		}
		_, _ = io.WriteString(c, "done")
	})
	c := newCloud(t, func(ctx context.Context, cfg proxy.Connection) {
		for ctx.Err() == nil { // it comes back, as culvertd does
			serve(ctx, cfg)
		}
	})
	cfg, heard := c.config(), &news{}
	cfg.Destination, cfg.Progress = connect.Auto, heard.event
	tunnel := openTunnel(t, cfg, "SSH")
	conn := dial(t, tunnel, "SSH")
	if _, err := io.WriteString(conn, "POST"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request arrives", func() bool { return requests.Load() == 1 })
	c.Relay.Faults().Cut(relay.Target{Side: tunnels.Destination})
	_, err := io.ReadAll(conn)
	wantReason(t, err, connect.DeviceGone)
	if n := requests.Load(); n != 1 {
		t.Errorf("the service was asked %d times", n)
	}
	if strings.Contains(heard.String(), "V1") {
		t.Errorf("told:\n%s", heard)
	}
	for range 2 { // V1 would have room for one
		talkPost(t, dial(t, tunnel, "SSH"))
	}
}

// refusing is a device that speaks V3, but is no Culvert, and whose services are all down. It comes back when its
// websocket is lost.
func refusing(ctx context.Context, cfg proxy.Connection) {
	cfg.Mode = "destination"
	for ctx.Err() == nil {
		conn, err := wsconn.Dial(ctx, cfg)
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close(1000, "") })
		for in := frame.NewReader(conn); ; {
			var m frame.Message
			if err := in.Next(&m); err != nil {
				break
			}
			if m.Type == frame.StreamStart {
				reset := frame.Message{Type: frame.StreamReset, StreamID: m.StreamID, ServiceID: m.ServiceID}
				b, err := reset.AppendFrame(nil)
				if err != nil || conn.WriteBuffers(b) != nil {
					break
				}
			}
		}
		stop()
		_ = conn.Close(1000, "")
	}
}

// A link that was lost before a connection began is no evidence of V1.
func TestADeviceThatCameBackBeforeDoesNotSpeakV1(t *testing.T) {
	t.Parallel()
	c := newCloud(t, refusing)
	cfg, heard := c.config(), &news{}
	cfg.Destination, cfg.Progress = connect.Auto, heard.event
	tunnel := openTunnel(t, cfg, "SSH")
	for range 3 { // one more than the evidence takes
		before, err := c.Store.Describe(tunnel.ID())
		if err != nil {
			t.Fatal(err)
		}
		c.Relay.Faults().Cut(relay.Target{Side: tunnels.Destination})
		eventually(t, "the device is back", func() bool {
			now, err := c.Store.Describe(tunnel.ID())
			return err == nil && now.DestinationState.Status == tunnels.Connected &&
				now.DestinationState.LastUpdatedAt.After(before.DestinationState.LastUpdatedAt)
		})
		if got, err := io.ReadAll(dial(t, tunnel, "SSH")); len(got) > 0 || err == nil {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if strings.Contains(heard.String(), "V1") {
		t.Errorf("told:\n%s", heard)
	}
}

func talkPost(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	answer := make([]byte, 4)
	_, writeErr := io.WriteString(c, "POST")
	if _, err := io.ReadFull(c, answer); errors.Join(writeErr, err) != nil || string(answer) != "done" {
		t.Errorf("%q, %v", answer, errors.Join(writeErr, err))
	}
}

// An operator who has lost a tunnel to another one leaves it open, noticed yet or not.
func TestATunnelThatWasTakenOverIsLeftOpen(t *testing.T) {
	t.Parallel()
	for name, behaviour := range map[string]tunnels.Behaviour{
		"noticed": {}, "not noticed": {RotationKeepsConnection: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloudThat(t, sandbox.Config{Behaviour: behaviour}, culvertDevice(talkative))
			cfg := c.config()
			first := openTunnel(t, cfg, "SSH")
			_, _ = io.ReadFull(dial(t, first, "SSH"), make([]byte, 5))
			cfg.TakeOver = true
			second := openTunnel(t, cfg, "SSH")
			if second.ID() != first.ID() {
				t.Fatal("another tunnel was used")
			}
			if err := first.Close(); err != nil {
				t.Error(err)
			}
			if open := c.open(); len(open) != 1 {
				t.Fatalf("open tunnels %v, want the one that was taken over", open)
			}
			if _, err := io.ReadFull(dial(t, second, "SSH"), make([]byte, 5)); err != nil {
				t.Errorf("the second operator's session: %v", err)
			}
		})
	}
}

// A service that is missing or down ends its connections without a byte, which culvert reports once for all of them.
func TestServeSaysThatAServiceIsSilent(t *testing.T) {
	t.Parallel()
	c := newCloud(t, culvertDevice(func(net.Conn) {}))
	cfg, heard := c.config(), &news{}
	cfg.Progress = heard.event
	tunnel := openTunnel(t, cfg, "SSH")
	client, stop, served := serveLocally(t, tunnel, "SSH")
	for range 3 {
		conn := client()
		_, _ = io.ReadAll(conn)
		_ = conn.Close()
	}
	const want = "SSH on pi-1 ended the connection without a byte"
	eventually(t, "it is said", func() bool { return strings.Contains(heard.String(), want) })
	stop()
	<-served //nolint:errcheck // only the end counts
	if n := strings.Count(heard.String(), want); n != 1 {
		t.Errorf("said %d times:\n%s", n, heard)
	}
}
