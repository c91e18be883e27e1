package agent

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/test/capture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is the tunnel service as far as the agent's wiring needs it: it answers handshakes.
type service struct {
	address string
	asked   chan textproto.MIMEHeader
}

// startService answers 400 to tokens that begin with BAD and keeps the others' websockets open.
func startService(t *testing.T) *service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{address: l.Addr().String(), asked: make(chan textproto.MIMEHeader, 20)}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { s.handshake(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return s
}

func (s *service) handshake(conn net.Conn) {
	defer conn.Close()
	r := textproto.NewReader(bufio.NewReader(conn))
	if _, err := r.ReadLine(); err != nil {
		return
	}
	header, err := r.ReadMIMEHeader()
	if err != nil {
		return
	}
	s.asked <- header
	if strings.HasPrefix(header.Get("access-token"), "BAD") {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nchannel-id: ch-1\r\nContent-Length: 6\r\n\r\nno way")
		return
	}
	sum := sha1.Sum([]byte(header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: aws.iot.securetunneling-3.0\r\nchannel-id: ch-2\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	_, _ = io.Copy(io.Discard, conn)
}

// device is a running agent without network: its MQTT endpoint cannot be reached.
type device struct {
	t     *testing.T
	agent *Agent
	cfg   *config.Config
	logs  *capture.Buffer
	level *slog.LevelVar
	stop  func() error
}

func testConfig(t *testing.T, tunnelEndpoint, services string) *config.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "culvert") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text := fmt.Sprintf(`thing_name = "pi-42"
[mqtt]
endpoint = "127.0.0.1:1"
cert_file = "cert.pem"
key_file = "key.pem"
[tunnel]
state_dir = "state"
[control]
socket = "run/culvertd.sock"
[services]
%s`, services)
	cfg, err := config.Parse(strings.NewReader(text), filepath.Join(dir, "culvertd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Tunnel.Endpoint = tunnelEndpoint
	return cfg
}

func start(t *testing.T, cfg *config.Config) *device {
	t.Helper()
	d := &device{t: t, cfg: cfg, logs: &capture.Buffer{}, level: new(slog.LevelVar)}
	ready := make(chan struct{})
	d.agent = New(cfg, Options{
		Logger: slog.New(slog.NewTextHandler(d.logs, &slog.HandlerOptions{Level: d.level})),
		Level:  d.level, Ready: func() { close(ready) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.agent.Run(ctx) }()
	d.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if strings.Contains(d.logs.String(), "TOKEN") {
			t.Errorf("a token is in the log:\n%s", d.logs)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run: %v", err)
	}
	return d
}

// notify hands a notification over as culvertd notify does.
func (d *device) notify(payload string) (session.Outcome, error) {
	var o session.Outcome
	err := control.Call(d.t.Context(), d.cfg.Control.Socket, control.Request{Command: control.Notify, Payload: []byte(payload)}, &o)
	return o, err
}

func (d *device) status() Status {
	d.t.Helper()
	var s Status
	if err := control.Call(d.t.Context(), d.cfg.Control.Socket, control.Request{Command: control.Status}, &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// tunnel waits until the first tunnel has that state.
func (d *device) tunnel(want session.State) session.Status {
	d.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if s := d.status(); len(s.Tunnels) > 0 && s.Tunnels[0].State == want {
			return s.Tunnels[0]
		}
		select {
		case <-tick.C:
		case <-deadline:
			d.t.Fatalf("no tunnel is %s: %+v\n%s", want, d.status().Tunnels, d.logs)
		}
	}
}

const notification = `{"clientAccessToken":"%sTOKEN","clientMode":"destination","region":"eu-west-1","services":["SSH"]}`

func TestANotificationBecomesATunnelAndIsResumedByTheNextDaemon(t *testing.T) {
	s := startService(t)
	cfg := testConfig(t, "ws://"+s.address, "SSH = 22\n")
	d := start(t, cfg)
	o, err := d.notify(fmt.Sprintf(notification, ""))
	if err != nil || o.Result != session.Accepted {
		t.Fatalf("%+v, %v", o, err)
	}
	first := <-s.asked
	if first.Get("access-token") != "TOKEN" || len(first.Get("client-token")) != 36 {
		t.Errorf("handshake %v", first)
	}
	st := d.tunnel(session.Connected)
	if st.Session != o.Session || st.ChannelID != "ch-2" || st.Region != "eu-west-1" || st.Services[0].Service != "SSH" {
		t.Errorf("%+v", st)
	}
	if o, err := d.notify(fmt.Sprintf(notification, "")); err != nil || o.Result != session.Known {
		t.Errorf("the same again: %+v, %v", o, err)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}

	d = start(t, cfg)
	second := <-s.asked
	if second.Get("client-token") != first.Get("client-token") {
		t.Error("the next daemon uses another client token")
	}
	d.tunnel(session.Connected)
}

func TestARefusedTokenEndsWithTheServicesWords(t *testing.T) {
	s := startService(t)
	d := start(t, testConfig(t, "ws://"+s.address, "SSH = 22\n"))
	if _, err := d.notify(fmt.Sprintf(notification, "BAD")); err != nil {
		t.Fatal(err)
	}
	<-s.asked
	st := d.tunnel(session.Ended)
	if st.LastError != "the tunnel service answered 400 Bad Request: no way (channel-id ch-1)" || !strings.HasPrefix(st.Reason, "the service refused the token") {
		t.Errorf("%q, %q", st.LastError, st.Reason)
	}
}

func TestABadNotificationIsToldToItsSenderAndLoggedOnce(t *testing.T) {
	d := start(t, testConfig(t, "ws://127.0.0.1:1", "SSH = 22\n"))
	for range 5 {
		if _, err := d.notify(`{"clientMode":"source","clientAccessToken":"TOKEN"}`); err == nil || !strings.HasPrefix(err.Error(), `clientMode is not "destination"`) {
			t.Errorf("the sender is told %v", err)
		}
	}
	if n := strings.Count(d.logs.String(), "notification dropped"); n != 1 {
		t.Errorf("%d lines:\n%s", n, d.logs)
	}
	if n := len(d.status().Tunnels); n != 0 {
		t.Errorf("%d tunnels", n)
	}
}

func TestARefusedNotificationIsToldToItsSender(t *testing.T) {
	cfg := testConfig(t, "ws://127.0.0.1:1", "SSH = 22\n")
	cfg.Tunnel.Regions = []string{"us-east-1"}
	d := start(t, cfg)
	if _, err := d.notify(fmt.Sprintf(notification, "")); err == nil || err.Error() != "region eu-west-1 is not in tunnel.regions" {
		t.Errorf("%v", err)
	}
}

func TestTheServiceWithoutANameIsTheOnlyOne(t *testing.T) {
	// The rule itself is tested in agent/session; this is what feeds it.
	cfg := testConfig(t, "ws://127.0.0.1:1", "SSH = 22\nOFF = { address = 23, enabled = false }\n")
	d := start(t, cfg)
	if got := d.agent.table.Names(); !cmp.Equal(got, []string{"SSH"}) {
		t.Errorf("%q", got)
	}
}

func TestStatusShowsWhatIsConfiguredAndWhereThingsStand(t *testing.T) {
	d := start(t, testConfig(t, "", "SSH = 22\nAPP = { address = \"unix:/run/app.sock\", max_connections = 3, idle_timeout = \"5m\", max_duration = \"8h\", enabled = false }\n"))
	for _, name := range []string{"APP", "NOPE", "NEITHER"} {
		if _, err := d.agent.table.Dial(t.Context(), name); err == nil {
			t.Errorf("%s was connected", name)
		}
	}
	s := d.status()
	if s.Thing != "pi-42" || s.Config != d.cfg.Path || s.PID != os.Getpid() || s.MQTT.Endpoint != "127.0.0.1:1" || s.MQTT.ClientID != "pi-42-tunnel" || s.MQTT.State != Connecting {
		t.Errorf("%+v", s)
	}
	want := []ServiceStatus{
		{Service: "SSH", Target: "127.0.0.1:22", Enabled: true, IdleTimeout: "0s", MaxDuration: "0s", Refused: map[string]uint64{}},
		{Service: "APP", Target: "unix:/run/app.sock", MaxConnections: 3, IdleTimeout: "5m0s", MaxDuration: "8h0m0s", Refused: map[string]uint64{"disabled": 1}},
	}
	if diff := cmp.Diff(want, s.Services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Limits{MaxTunnels: 8, Regions: []string{}, UnknownRefused: 2}, s.Limits); diff != "" || s.Hooks != nil {
		t.Errorf("limits (-want +got):\n%s; hooks %+v", diff, s.Hooks)
	}
	if s.Tunnels == nil || s.Now.Before(s.Started) {
		t.Errorf("%+v", s)
	}
	if s = d.agent.Status(); strings.Contains(s.Started.String()+s.MQTT.Since.String(), "m=") { // as the clock showed it, which may have been set since
		t.Errorf("times are not by elapsed time: %v, %v", s.Started, s.MQTT.Since)
	}
}

func TestReloadTakesOverWhatItCanAndNamesTheRest(t *testing.T) {
	cfg := testConfig(t, "ws://127.0.0.1:1", "SSH = 22\n")
	d := start(t, cfg)
	next := testConfig(t, "ws://127.0.0.1:2", "SSH = 2222\nHTTP = 80\n")
	next.Log.Level = slog.LevelDebug
	next.Tunnel.Regions = []string{"us-east-1"}
	next.Tunnel.StateDir, next.Control.Socket, next.Path = cfg.Tunnel.StateDir, cfg.Control.Socket, cfg.Path
	next.MQTT.CertFile, next.MQTT.KeyFile = cfg.MQTT.CertFile, cfg.MQTT.KeyFile
	for range 2 { // the second one still differs from what runs
		if diff := cmp.Diff([]string{"tunnel.endpoint"}, d.agent.Reload(next)); diff != "" {
			t.Errorf("keys that need a restart (-want +got):\n%s", diff)
		}
	}
	if s, _ := d.agent.table.Lookup("SSH"); s.Address != "127.0.0.1:2222" {
		t.Errorf("SSH is at %s", s.Address)
	}
	if len(d.status().Services) != 2 {
		t.Errorf("%+v", d.status().Services)
	}
	if d.level.Level() != slog.LevelDebug {
		t.Errorf("log level %v", d.level.Level())
	}
	if _, err := d.notify(fmt.Sprintf(notification, "")); err == nil || err.Error() != "region eu-west-1 is not in tunnel.regions" {
		t.Errorf("the new list of regions is not in force: %v", err)
	}
}

func TestASecondDaemonOnOneSocketDoesNotStart(t *testing.T) {
	cfg := testConfig(t, "", "SSH = 22\n")
	start(t, cfg)
	err := New(cfg, Options{Logger: slog.New(slog.DiscardHandler)}).Run(t.Context())
	if !errors.Is(err, control.ErrRunning) {
		t.Errorf("%v", err)
	}
}

func TestADaemonWithoutAControlSocketRuns(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"switched off":   func(c *config.Config) { c.Control.Socket = "" },
		"cannot be made": func(c *config.Config) { c.Control.Socket = "/dev/null/x" },
	} {
		cfg := testConfig(t, "", "SSH = 22\n")
		change(cfg)
		d := start(t, cfg)
		if got, want := strings.Contains(d.logs.String(), "control socket cannot be made"), name == "cannot be made"; got != want {
			t.Errorf("%s: warned %v, want %v", name, got, want)
		}
		if err := d.stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
