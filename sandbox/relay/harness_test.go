package relay

import (
	"bytes"
	stdcmp "cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	src = tunnels.Source
	dst = tunnels.Destination

	clientS = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	clientD = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
)

// rig is a relay with one tunnel; both of its sides are scripts.
type rig struct {
	t        testing.TB
	relay    *Relay
	store    *tunnels.Store
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
	id       string
	token    map[tunnels.Mode]string
	client   map[tunnels.Mode]string
}

// rigOption changes how a rig is built.
type rigOption func(*rigConfig)

type rigConfig struct {
	Config
	behaviour tunnels.Behaviour
	services  []string
	pipe      bool
}

func withServices(s ...string) rigOption { return func(c *rigConfig) { c.services = s } }
func inMemory(c *rigConfig)              { c.pipe = true }
func with(edit func(*Config)) rigOption  { return func(c *rigConfig) { edit(&c.Config) } }

func newRig(tb testing.TB, options ...rigOption) *rig {
	tb.Helper()
	c := rigConfig{services: []string{"SSH"}}
	for _, o := range options {
		o(&c)
	}
	g := &rig{t: tb, store: tunnels.New(tunnels.Config{Behaviour: c.behaviour})}
	c.Store = g.store
	g.relay = New(c.Config)
	if c.pipe {
		l := harness.NewPipeListener()
		g.listener, g.dial = l, l.Dial
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		g.listener = l
		g.dial = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
		}
	}
	server := &http.Server{Handler: g.relay, ReadHeaderTimeout: time.Minute}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(g.listener) })
	tb.Cleanup(func() {
		_ = server.Close()
		g.relay.Close()
		served.Wait()
	})
	o, err := g.store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi", Services: c.services}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = g.store.Close(o.Tunnel.ID, true) }) // stops its timer
	g.id = o.Tunnel.ID
	g.token = map[tunnels.Mode]string{src: o.SourceToken, dst: o.DestinationToken}
	g.client = map[tunnels.Mode]string{src: clientS, dst: clientD}
	return g
}

// script is one side of the tunnel, played by hand.
type script struct {
	t      testing.TB
	ws     *websocket.Conn
	frames *frame.Reader
	raw    bytes.Buffer // every byte read so far
	sizes  []int        // of the websocket messages read so far
	cur    io.Reader
	wait   time.Duration // for the next message; 0 means 10 s
}

func (g *rig) header(m tunnels.Mode) http.Header {
	return http.Header{"access-token": {g.token[m]}, "client-token": {g.client[m]}}
}

// answer is what a handshake was answered with, nil when it was not.
type answer struct {
	status int
	header http.Header
}

func (g *rig) try(m tunnels.Mode, subprotocol string, h http.Header) (*websocket.Conn, *answer, error) {
	d := websocket.Dialer{
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return g.dial(ctx) },
		Subprotocols:   []string{subprotocolPrefix + subprotocol}, WriteBufferSize: 256 << 10,
	}
	ws, res, err := d.Dial("ws://relay/tunnel?local-proxy-mode="+string(m), h)
	if res == nil {
		return ws, nil, err
	}
	_ = res.Body.Close() // gorilla has read what there is
	return ws, &answer{res.StatusCode, res.Header}, err
}

// connect dials with the side's pair and takes nothing off the connection yet.
func (g *rig) connect(m tunnels.Mode, subprotocol string) *script {
	g.t.Helper()
	ws, _, err := g.try(m, subprotocol, g.header(m))
	if err != nil {
		g.t.Fatal(err)
	}
	s := &script{t: g.t, ws: ws}
	s.frames = frame.NewReader(s)
	g.t.Cleanup(func() { _ = ws.Close() })
	return s
}

// await waits until the relay passes messages on to a side.
func (g *rig) await(m tunnels.Mode) {
	l := g.relay.link(g.id)
	there := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.peers[m] != nil
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !there() {
		select {
		case <-tick.C:
		case <-g.t.Context().Done():
			return
		}
	}
}

// join connects and takes off SERVICE_IDS.
func (g *rig) join(m tunnels.Mode, subprotocol string) *script {
	g.t.Helper()
	s := g.connect(m, subprotocol)
	if subprotocol != "1.0" {
		d, err := g.store.Describe(g.id)
		if err != nil {
			g.t.Fatal(err)
		}
		s.expect(frame.Message{Type: frame.ServiceIDs, AvailableServiceIDs: d.Destination.Services})
	}
	return s
}

// streaming joins both ends, and starts stream 1 of SSH.
func (g *rig) streaming() (d, s *script) {
	g.t.Helper()
	d, s = g.join(dst, "3.0"), g.join(src, "3.0")
	s.send(start("SSH", 1, 1))
	d.expect(start("SSH", 1, 1))
	return d, s
}

// Read makes one byte stream of the websocket messages.
func (s *script) Read(b []byte) (int, error) {
	for {
		if s.cur == nil {
			_ = s.ws.SetReadDeadline(time.Now().Add(stdcmp.Or(s.wait, 10*time.Second)))
			kind, r, err := s.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("text message")
			}
			s.cur, s.sizes = r, append(s.sizes, 0)
		}
		n, err := s.cur.Read(b)
		s.raw.Write(b[:n])
		s.sizes[len(s.sizes)-1] += n
		if errors.Is(err, io.EOF) {
			s.cur, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func enc(tb testing.TB, ms ...frame.Message) (b []byte) {
	tb.Helper()
	for _, m := range ms {
		var err error
		if b, err = m.AppendFrame(b); err != nil {
			tb.Fatal(err)
		}
	}
	return b
}

// send writes the messages as one websocket message.
func (s *script) send(ms ...frame.Message) {
	s.t.Helper()
	s.sendRaw(websocket.BinaryMessage, enc(s.t, ms...))
}

func (s *script) sendRaw(kind int, b []byte) {
	s.t.Helper()
	if err := s.ws.WriteMessage(kind, b); err != nil {
		s.t.Fatal(err)
	}
}

// expect reads as many messages and compares them.
func (s *script) expect(want ...frame.Message) {
	s.t.Helper()
	for _, w := range want {
		var got frame.Message
		if err := s.frames.Next(&got); err != nil {
			s.t.Fatalf("waiting for %v: %v", w, err)
		}
		if bytes.Equal(w.Payload, got.Payload) { // which takes cmp a while
			w.Payload, got.Payload = nil, nil
		}
		if d := cmp.Diff(w, got, cmpopts.EquateEmpty()); d != "" {
			s.t.Fatalf("message (-want +got)\n%s", d)
		}
	}
}

// end reads until the connection is over and returns the close code, 0 for an end without a close frame.
func (s *script) end() int {
	s.t.Helper()
	var m frame.Message
	for {
		err := s.frames.Next(&m)
		var closed *websocket.CloseError
		var network net.Error
		switch {
		case err == nil:
		case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
			return closed.Code
		case errors.As(err, &network) && network.Timeout():
			s.t.Fatal("the connection is not ended")
		default:
			return 0
		}
	}
}

func (s *script) ended(want int) {
	s.t.Helper()
	if got := s.end(); got != want {
		s.t.Fatalf("ended with close code %d, want %d", got, want)
	}
}

func start(service string, stream int32, connection uint32) frame.Message {
	return frame.Message{Type: frame.StreamStart, StreamID: stream, ServiceID: service, ConnectionID: connection}
}

func data(service string, stream int32, connection uint32, payload string) frame.Message {
	return frame.Message{Type: frame.Data, StreamID: stream, ServiceID: service, ConnectionID: connection, Payload: []byte(payload)}
}

func reset(service string, stream int32) frame.Message {
	return frame.Message{Type: frame.StreamReset, StreamID: stream, ServiceID: service}
}
