package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	var files sandbox.Device
	d.daemon, files = startSubscribed(t, d.box)
	d.config = files.ConfigFile
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

// TestRotationBringsTheTunnelBack covers both answers to whether a rotation ends the live websocket at once, and what the
// service may say of the old token. New streams work within 2 s, and the old token is never used again: it opens nothing,
// its session ends at the first refusal, and a restart resumes the newest alone.
func TestRotationBringsTheTunnelBack(t *testing.T) {
	t.Parallel()
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
				seen := &handshakes{}
				d := startDevice(t, sandbox.Config{Behaviour: behaviour, Logger: slog.New(seen)})
				old := []string{}
				newest := d.tunnel.DestinationToken
				for range 3 {
					transferred := make(chan error, 1)
					if transferring {
						transferred = d.transfer(t, 1<<20)
					}
					// A machine that is slow by itself is given more.
					slow := 20 * d.comesBack(t, 20*time.Second)
					old, newest = append(old, newest), rotate(t, d.box, d.daemon, d.tunnel, "ECHO")
					took := d.comesBack(t, 2*time.Second+slow)
					t.Logf("new streams work %v after the rotation", took.Round(time.Millisecond))
					if !behaviour.RefusalWithoutBody {
						// Without a word of why, the old session may try for two minutes more.
						d.daemon.waitLog(t, "tunnel ended "+sessionOf(old[len(old)-1]), 10*time.Second)
					}
					if transferring {
						select {
						case err := <-transferred:
							if err != nil {
								t.Error(err)
							}
						case <-time.After(20 * time.Second):
							t.Error("the transfer is not told of the end of its tunnel")
						}
					}
				}
				if n := strings.Count(d.daemon.log(), "tunnel connected "); n != 4 {
					t.Errorf("%d connections of the device, want 4: one for each token", n)
				}
				for i, token := range append(slices.Clone(old), newest) {
					admitted, refused := seen.of(token)
					if admitted != 1 {
						t.Errorf("token %d was used %d times, want once", i, admitted)
					}
					if limit := min(3-i, 1); refused > limit && !behaviour.RefusalWithoutBody {
						t.Errorf("token %d was refused %d times, want %d at most", i, refused, limit)
					}
				}
				if behaviour.RefusalWithoutBody {
					return
				}
				d.daemon.stop(t)
				d.daemon = startDaemon(t, d.config)
				d.daemon.hide(append(old, newest)...)
				d.comesBack(t, 10*time.Second)
				if log := d.daemon.log(); strings.Count(log, "tunnel resumed ") != 1 || !strings.Contains(log, "tunnel resumed "+sessionOf(newest)) {
					t.Errorf("after a restart not the newest token alone has a session")
				}
				for i, token := range old {
					if admitted, refused := seen.of(token); admitted+refused > 2 {
						t.Errorf("token %d was tried again after its session's end", i)
					}
				}
			})
		}
	}
}

// handshakes counts, from the sandbox's log, what became of the handshakes with each token.
type handshakes struct {
	mu                sync.Mutex
	admitted, refused map[string]int // by the token's fingerprint
}

// of returns how many handshakes with a token were admitted and refused so far.
func (h *handshakes) of(token string) (admitted, refused int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := secret.New(token).ID()
	return h.admitted[id], h.refused[id]
}

func (h *handshakes) Enabled(context.Context, slog.Level) bool  { return true }
func (h *handshakes) WithGroup(string) slog.Handler             { return h }
func (h *handshakes) Handle(context.Context, slog.Record) error { return nil }

// WithAttrs returns the handler of the records of one handshake, where the attributes name its token.
func (h *handshakes) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "token" {
			return &handshake{h, a.Value.String()}
		}
	}
	return h
}

type handshake struct {
	*handshakes
	token string
}

func (h *handshake) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *handshake) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.admitted == nil {
		h.admitted, h.refused = map[string]int{}, map[string]int{}
	}
	switch r.Message {
	case "destination connected":
		h.admitted[h.token]++
	case "handshake refused":
		h.refused[h.token]++
	}
	return nil
}

// transfer sends bytes to ECHO and back without end, and returns once so many have come back. The channel has something
// when the connection has ended: an error if any byte that came was not the one that was sent.
func (d *device) transfer(t *testing.T, size int) chan error {
	t.Helper()
	c := connectTo(t, d.source, "ECHO")
	go func() { _, _ = io.Copy(c, random(1)) }()
	ended, there := make(chan error, 1), make(chan struct{})
	go func() {
		sent, got, want := random(1), make([]byte, 64<<10), make([]byte, 64<<10)
		for came := 0; ; {
			n, err := c.Read(got)
			_, _ = io.ReadFull(sent, want[:n])
			if !bytes.Equal(got[:n], want[:n]) {
				ended <- fmt.Errorf("a byte of those from %d to %d is not as it was sent", came, came+n)
				return
			}
			if came < size && came+n >= size {
				close(there)
			}
			came += n
			if err != nil {
				ended <- nil
				return
			}
		}
	}()
	select {
	case <-there:
	case err := <-ended:
		t.Fatalf("the transfer ended early: %v", err)
	}
	return ended
}

func TestLostLinkComesBackWithTheSamePair(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// The device learns of the end of a tunnel only by a closed websocket, and then a refusal.
func TestATunnelThatIsOverEndsItsSession(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(d *device, ahead *atomic.Int64) error{
		"closed": func(d *device, _ *atomic.Int64) error { return d.box.Store.Close(d.tunnel.Tunnel.ID, false) },
		"expired": func(d *device, ahead *atomic.Int64) error {
			ahead.Store(int64(tunnels.DefaultLifetime))
			d.box.Store.Sweep()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var ahead atomic.Int64 // of the service's clock
			d := startDevice(t, sandbox.Config{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
			if err := end(d, &ahead); err != nil {
				t.Fatal(err)
			}
			line := d.daemon.waitLog(t, "tunnel ended "+sessionOf(d.tunnel.DestinationToken), 10*time.Second)
			if !strings.Contains(line, "the service says "+name) {
				t.Errorf("the log does not say why: %s", line)
			}
			d.daemon.stop(t)
			d.daemon = startDaemon(t, d.config)
			d.daemon.waitLog(t, "mqtt subscribed", 10*time.Second)
			if strings.Contains(d.daemon.log(), "tunnel resumed") {
				t.Error("an ended session was resumed after a restart")
			}
		})
	}
}

func TestReloadChangesServicesUnderLiveConnections(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
