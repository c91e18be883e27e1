package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

const (
	// floodLines is the most that a flood may add to the log: the first hundred connections have their lines, of
	// beginning and end, kinds of notices have one each, and the rest is in summaries.
	floodLines = 300
	// floodMemory is the most that a flood may add to the daemon's memory, in bytes: 2,048 connections, and what
	// waits for them.
	floodMemory = 64 << 20
)

// repeated is as many of a message's frames as one websocket message holds.
func repeated(t testing.TB, m frame.Message) []byte {
	t.Helper()
	one, err := m.AppendFrame(nil)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.Repeat(string(one), frame.MaxWebsocketMessage/len(one)))
}

// TestFloodsByTheRelayAreBounded lets the relay send what no limit of the protocol forbids, in any number. The
// daemon's memory and log stay within bounds, and a connection of another service goes on.
func TestFloodsByTheRelayAreBounded(t *testing.T) {
	t.Parallel()
	side := relay.Target{Side: tunnels.Destination}
	end := make(chan struct{})
	deaf := server(t, func(net.Conn) { <-end })
	t.Cleanup(func() { close(end) }) // before the server's own
	d := startDevice(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t), "OTHER": echoServer(t), "DEAF": deaf}})
	faults := d.box.Relay.Faults()
	send := func(m frame.Message) { faults.SendMessage(side, m) }
	message := func(kind frame.Type, stream, connection int, service string) frame.Message {
		return frame.Message{Type: kind, StreamID: int32(stream), ConnectionID: uint32(connection), ServiceID: service}
	}
	many := func(m frame.Message) func() {
		raw := repeated(t, m)
		return func() {
			for range 40 {
				faults.SendRaw(side, false, raw)
			}
		}
	}
	data := message(frame.Data, 700, 1, "DEAF")
	data.Payload = []byte("x")
	dead := data
	dead.ServiceID, dead.StreamID = "OTHER", 12345
	zero := message(frame.Data, 701, 1, "DEAF")
	open := func(service string) int {
		for _, s := range d.daemon.status(t).Services {
			if s.Service == service {
				return s.Connections
			}
		}
		return -1
	}
	ids := frame.Message{Type: frame.ServiceIDs, AvailableServiceIDs: []string{"ECHO", "OTHER", "DEAF"}}

	live := connectTo(t, d.source, "ECHO")
	if err := exchangeByte(live); err != nil {
		t.Fatal(err)
	}
	for _, flood := range []struct {
		name string
		send func()
	}{
		{"STREAM_START of services that are not there", func() {
			for i := range 2000 {
				send(message(frame.StreamStart, i+1, 1, fmt.Sprint("NONE-", i)))
			}
		}},
		{"STREAM_START of a service", func() {
			for i := range 2000 {
				send(message(frame.StreamStart, 1000+i, 1, "OTHER"))
			}
		}},
		{"CONNECTION_START of a service that is not there", func() {
			for i := range 2000 {
				send(message(frame.ConnectionStart, 5000, i+1, "NONE"))
			}
		}},
		{"CONNECTION_START of a service", func() {
			send(message(frame.StreamStart, 6000, 1, "OTHER"))
			for i := range 3000 {
				send(message(frame.ConnectionStart, 6000, i+2, "OTHER"))
			}
			eventually(t, 60*time.Second, "as many connections as a tunnel may have", func() bool { return open("OTHER") > 2000 })
		}},
		{"the end of all of them", func() {
			send(message(frame.StreamReset, 6000, 0, "OTHER"))
			eventually(t, 60*time.Second, "no connection is left", func() bool { return open("OTHER") == 0 })
		}},
		{"frames of one byte", func() {
			send(message(frame.StreamStart, 700, 1, "DEAF"))
			many(data)()
		}},
		{"frames without data", func() {
			send(message(frame.StreamStart, 701, 1, "DEAF"))
			many(zero)()
		}},
		{"data of a dead stream", many(dead)},
		{"resets of what is not there", many(message(frame.ConnectionReset, 77, 77, "OTHER"))},
		{"unknown messages that may be ignored", many(frame.Message{Type: 42, Ignorable: true})},
		{"SERVICE_IDS", many(ids)},
	} {
		t.Run(flood.name, func(t *testing.T) {
			before, lines := memory(t, d.daemon.Cmd.Process.Pid, "Rss")<<10, strings.Count(d.daemon.log(), "\n")
			flood.send()
			_ = live.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := live.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			// Its answer came behind the flood, which has been read therefore.
			if _, err := live.Read(make([]byte, 1)); err != nil {
				t.Fatalf("a connection of another service ended with the flood: %v", err)
			}
			more, logged := memory(t, d.daemon.Cmd.Process.Pid, "Rss")<<10-before, strings.Count(d.daemon.log(), "\n")-lines
			t.Logf("memory %+.1f MB, %d lines", float64(more)/1e6, logged)
			if more > floodMemory && !raceEnabled {
				t.Errorf("the daemon's memory grew by %d bytes", more)
			}
			if logged > floodLines {
				t.Errorf("%d lines of the log", logged)
			}
		})
	}
	if strings.Contains(d.daemon.log(), "tunnel lost") {
		t.Error("the websocket was given up")
	}
	d.comesBack(t, 30*time.Second)
}

// TestAFloodOfTokensLeavesTunnelsAlone is a notifier that makes up tokens: live tunnels are untouched, no more
// than max_tunnels are tried at a time, and neither log nor state directory fill up.
func TestAFloodOfTokensLeavesTunnelsAlone(t *testing.T) {
	d := startDevice(t, sandbox.Config{})
	live := connectTo(t, d.source, "ECHO")
	if err := exchangeByte(live); err != nil {
		t.Fatal(err)
	}
	before, lines := memory(t, d.daemon.Cmd.Process.Pid, "Rss")<<10, strings.Count(d.daemon.log(), "\n")
	const flood, workers = 800, 16
	var accepted, refused atomic.Int64
	var all sync.WaitGroup
	socket := d.socket(t)
	for w := range workers {
		all.Go(func() {
			for i := w; i < flood; i += workers {
				payload, err := json.Marshal(map[string]any{
					"clientAccessToken": fmt.Sprintf("bogus-%d-", i) + strings.Repeat("x", 500), "clientMode": "destination", "region": "eu-west-1", "services": []string{"NOPE"},
				})
				if err != nil {
					t.Error(err)
					return
				}
				var o session.Outcome
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				err = control.Call(ctx, socket, control.Request{Command: control.Notify, Payload: payload}, &o)
				cancel()
				switch {
				case err == nil && o.Result == session.Accepted:
					accepted.Add(1)
				case err != nil && strings.Contains(err.Error(), "tunnel.max_tunnels"):
					refused.Add(1)
				default:
					t.Errorf("notification %d: %+v, %v", i, o, err)
				}
			}
		})
	}
	all.Wait()
	if err := exchangeByte(live); err != nil {
		t.Errorf("the connection that was open: %v", err)
	}
	eventually(t, 30*time.Second, "all made-up tokens are refused by the service", func() bool { return d.daemon.status(t).Limits.Tunnels == 1 })
	s := d.daemon.status(t)
	if got := s.Limits.TunnelsRefused; got < uint64(refused.Load()) { // others were refused after they had waited
		t.Errorf("status counts %d refused tokens, it was %d", got, refused.Load())
	}
	if len(s.Tunnels) > 1+5 || s.Tunnels[0].Session != secret.New(d.tunnel.DestinationToken).ID() || s.Tunnels[0].State != session.Connected || s.Tunnels[0].Attempts != 1 {
		t.Errorf("%d tunnels are shown, the first is %+v", len(s.Tunnels), s.Tunnels[0])
	}
	more, logged := memory(t, d.daemon.Cmd.Process.Pid, "Rss")<<10-before, strings.Count(d.daemon.log(), "\n")-lines
	t.Logf("%d accepted, %d refused; memory %+.1f MB, %d lines", accepted.Load(), refused.Load(), float64(more)/1e6, logged)
	if more > floodMemory && !raceEnabled {
		t.Errorf("the daemon's memory grew by %d bytes", more)
	}
	// At info each of them would have two lines.
	if logged > flood*3/4 {
		t.Errorf("%d lines of the log, for %d notifications", logged, flood)
	}
	d.comesBack(t, 30*time.Second)
}

// socket is the daemon's control socket.
func (d *device) socket(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(d.config)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\nsocket = ")
	line, _, _ := strings.Cut(rest, "\n")
	path, err := strconv.Unquote(strings.TrimSpace(line))
	if !found || err != nil {
		t.Fatalf("no socket in the configuration: %v", err)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(d.config), path)
	}
	return path
}
