package e2e

import (
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// sessionOf is how the daemon's log calls the session of a token.
func sessionOf(token string) string { return "session=" + secret.New(token).ID() }

// rotate rotates the destination's token as the documentation tells operators to, and returns the new one.
func rotate(t testing.TB, box *sandbox.Sandbox, d *daemon, tunnel tunnels.Opened, services ...string) string {
	t.Helper()
	r, err := box.Store.Rotate(tunnel.Tunnel.ID, tunnels.RotateDestination, &tunnels.DestinationConfig{ThingName: "pi-1", Services: services})
	if err != nil {
		t.Fatal(err)
	}
	d.hide(r.DestinationToken)
	return r.DestinationToken
}

// device is a sandbox, a running daemon whose service ECHO answers every byte, and a tunnel to it.
type device struct {
	box    *sandbox.Sandbox
	daemon *daemon
	config string
	tunnel tunnels.Opened
	source *proxy.Source
}

func startDevice(t *testing.T, cfg sandbox.Config) *device {
	t.Helper()
	if cfg.Services == nil {
		cfg.Services = map[string]string{"ECHO": echoServer(t)}
	}
	d := &device{box: startSandbox(t, cfg)}
	files, err := d.box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d.config = files.ConfigFile
	d.daemon = startDaemon(t, d.config)
	d.daemon.waitLog(t, "mqtt subscribed", 20*time.Second)
	d.tunnel = openTunnel(t, d.box, d.daemon, "ECHO")
	d.source = startSource(t, d.box, d.tunnel.SourceToken, proxy.V3)
	d.comesBack(t, 5*time.Second)
	return d
}

// comesBack waits until new connections work.
func (d *device) comesBack(t testing.TB, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	eventually(t, limit, "a new connection works", func() bool { return answers(d.source, "ECHO", time.Second) })
	return time.Since(start)
}

// TestRotationBringsTheTunnelBack covers both answers to whether a rotation ends the live websocket at once.
func TestRotationBringsTheTunnelBack(t *testing.T) {
	for name, behaviour := range map[string]tunnels.Behaviour{
		"rotation ends the old connection":          {},
		"the new connection replaces the old":       {RotationKeepsConnection: true},
		"refusals say nothing and are 403":          {RefusalStatus: 403, RefusalWithoutBody: true},
		"the old pair is refused while it is alive": {SamePairWaits: true, RotationKeepsConnection: true},
	} {
		for _, transferring := range []bool{false, true} {
			kind := " while idle"
			if transferring {
				kind = " while transferring"
			}
			t.Run(name+kind, func(t *testing.T) {
				d := startDevice(t, sandbox.Config{Behaviour: behaviour})
				old := d.tunnel.DestinationToken
				if transferring {
					c := connectTo(t, d.source, "ECHO")
					go func() { _, _ = io.Copy(c, random(1)) }()
					if _, err := io.CopyN(io.Discard, c, 4<<20); err != nil {
						t.Fatal(err)
					}
					go func() { _, _ = io.Copy(io.Discard, c) }()
				}
				for range 3 {
					token := rotate(t, d.box, d.daemon, d.tunnel, "ECHO")
					took := d.comesBack(t, 2*time.Second)
					t.Logf("new streams work %v after the rotation", took.Round(time.Millisecond))
					if !behaviour.RefusalWithoutBody {
						// Without a word of why, the old session may try for two minutes more.
						d.daemon.waitLog(t, "tunnel ended "+sessionOf(old), 10*time.Second)
					}
					old = token
				}
				if n := strings.Count(d.daemon.log(), "tunnel connected "); n != 4 {
					t.Errorf("%d connections of the device, want 4: one for each token", n)
				}
			})
		}
	}
}

func TestLostLinkComesBackWithTheSamePair(t *testing.T) {
	d := startDevice(t, sandbox.Config{})
	side := relay.Target{Side: tunnels.Destination}
	for name, cut := range map[string]func() int{
		"reset":        func() int { return d.box.Relay.Faults().Cut(side) },
		"close frame":  func() int { return d.box.Relay.Faults().CloseWith(side, 1012, "service restart") },
		"text message": func() int { return d.box.Relay.Faults().SendRaw(side, true, []byte("hello")) },
		"no message":   func() int { return d.box.Relay.Faults().SendRaw(side, false, []byte{0, 2, 0xff, 0xff}) },
	} {
		t.Run(name, func(t *testing.T) {
			if n := cut(); n != 1 {
				t.Fatalf("%d connections met, want 1", n)
			}
			d.comesBack(t, 5*time.Second)
		})
	}
	if strings.Contains(d.daemon.log(), "tunnel ended") {
		t.Error("the session has ended, though its token is valid")
	}
}

func TestRestartComesBackWithTheSamePair(t *testing.T) {
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			d := startDevice(t, sandbox.Config{})
			d.daemon.signal(t, signal)
			d.daemon.waitExit(t, stopLimit)
			d.daemon = startDaemon(t, d.config)
			d.daemon.hide(d.tunnel.DestinationToken, d.tunnel.SourceToken)
			d.daemon.waitLog(t, "tunnel resumed "+sessionOf(d.tunnel.DestinationToken), 10*time.Second)
			d.comesBack(t, 5*time.Second)
		})
	}
}

func TestClosedTunnelEndsItsSession(t *testing.T) {
	d := startDevice(t, sandbox.Config{})
	if err := d.box.Store.Close(d.tunnel.Tunnel.ID, false); err != nil {
		t.Fatal(err)
	}
	d.daemon.waitLog(t, "tunnel ended "+sessionOf(d.tunnel.DestinationToken), 10*time.Second)
	d.daemon.stop(t)
	d.daemon = startDaemon(t, d.config)
	d.daemon.waitLog(t, "mqtt subscribed", 10*time.Second)
	if strings.Contains(d.daemon.log(), "tunnel resumed") {
		t.Error("an ended session was resumed after a restart")
	}
}

func TestReloadChangesServicesUnderLiveConnections(t *testing.T) {
	d := startDevice(t, sandbox.Config{})
	tunnel := openTunnel(t, d.box, d.daemon, "ECHO", "NEW")
	source := startSource(t, d.box, tunnel.SourceToken, proxy.V3)
	eventually(t, 5*time.Second, "the second tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	live := connectTo(t, source, "ECHO")
	ping := func() {
		t.Helper()
		if err := exchangeByte(live); err != nil {
			t.Fatalf("the live connection: %v", err)
		}
	}
	ping()
	if answers(source, "NEW", 2*time.Second) {
		t.Fatal("a service that is not configured answers")
	}
	text, err := os.ReadFile(d.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.config, []byte(string(text)+"\nBROKEN ="), 0o600); err != nil {
		t.Fatal(err)
	}
	d.daemon.signal(t, syscall.SIGHUP)
	d.daemon.waitLog(t, "not reloaded", 5*time.Second)
	ping()
	changed := strings.Replace(string(text), "[services]\n", "[services]\nNEW = "+`"`+echoServer(t)+`"`+"\n", 1)
	if err := os.WriteFile(d.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	d.daemon.signal(t, syscall.SIGHUP)
	eventually(t, 5*time.Second, "the new service answers", func() bool { return answers(source, "NEW", time.Second) })
	ping()
}

func TestSeveralTunnelsAtOnce(t *testing.T) {
	d := startDevice(t, sandbox.Config{})
	sources := []*proxy.Source{d.source}
	for range 4 {
		o := openTunnel(t, d.box, d.daemon, "ECHO")
		sources = append(sources, startSource(t, d.box, o.SourceToken, proxy.V3))
	}
	var all sync.WaitGroup
	for i, s := range sources {
		all.Go(func() {
			if !poll(5*time.Second, func() bool { return answers(s, "ECHO", time.Second) }) {
				t.Errorf("tunnel %d does not answer", i)
			}
		})
	}
	all.Wait()
}

func TestOldSourcesAreServedWithoutAFlag(t *testing.T) {
	d := startDevice(t, sandbox.Config{})
	for _, form := range []proxy.Form{proxy.V1, proxy.V2, proxy.V3} {
		o := openTunnel(t, d.box, d.daemon, "ECHO")
		s := startSource(t, d.box, o.SourceToken, form)
		service := "ECHO"
		if form == proxy.V1 {
			service = ""
		}
		eventually(t, 5*time.Second, "a "+form.String()+" source is answered", func() bool { return answers(s, service, time.Second) })
	}
}

func TestHandedOverNotificationOpensATunnel(t *testing.T) {
	d := startDevice(t, sandbox.Config{})
	o, err := d.box.Store.Open(tunnels.OpenInput{}) // without a thing nothing is published
	if err != nil {
		t.Fatal(err)
	}
	d.daemon.hide(o.DestinationToken, o.SourceToken)
	notification := `{"clientAccessToken":"` + o.DestinationToken + `","clientMode":"destination","region":"eu-west-1","services":["ECHO"]}`
	if out, err := d.daemon.run(t, notification, "notify"); err != nil {
		t.Fatalf("culvertd notify: %v %s", err, out)
	}
	s := startSource(t, d.box, o.SourceToken, proxy.V3)
	eventually(t, 5*time.Second, "the handed-over tunnel answers", func() bool { return answers(s, "", time.Second) })
	if out, err := d.daemon.run(t, `{"clientMode":"source"}`, "notify"); err == nil {
		t.Errorf("a wrong notification was taken: %s", out)
	}
}
