package e2e

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// bed is the setting for a fault: a sandbox, a device with a tunnel, an operator's side that reconnects, and traffic.
type bed struct {
	t        *testing.T
	box      *sandbox.Sandbox
	config   string // of culvertd
	endpoint string // the device's way to the relay
	device   *daemon
	tunnel   tunnels.Opened
	operator *operatorSide
	traffic  *traffic
	foreign  bool           // the device runs another program than culvertd
	again    func() *daemon // which this starts
}

// bedOptions are a fault's wishes for its bed. The zero value is an ordinary device.
type bedOptions struct {
	sandbox sandbox.Config
	// endpoint, if set, is asked for the device's way to the relay, such as a wire that can be cut.
	endpoint func(t *testing.T, relay string) string
	// edit changes the daemon's configuration.
	edit func(t *testing.T, b *bed)
	// program is a local proxy that takes culvertd's place.
	program string
	// app, if set, is the target of one more service, APP.
	app string
	// silent leaves the tunnel without a connection: the relay has seen no stream.
	silent bool
}

func startBed(t *testing.T, o bedOptions) *bed {
	t.Helper()
	b := &bed{t: t, foreign: o.program != ""}
	var data string
	b.traffic, data = newTraffic(t)
	targets := map[string]string{"ECHO": echoServer(t), "DATA": data}
	if o.app != "" {
		targets["APP"] = o.app
	}
	services := slices.Sorted(maps.Keys(targets))
	o.sandbox.Services = targets
	b.box = startSandbox(t, o.sandbox)
	files, err := b.box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	b.config = files.ConfigFile
	b.endpoint = b.box.RelayURL
	if o.endpoint != nil {
		b.endpoint = o.endpoint(t, b.endpoint)
		b.config = configWith(t, b.config, b.box.RelayURL, b.endpoint)
	}
	if o.edit != nil {
		o.edit(t, b)
	}
	if b.foreign {
		b.tunnel = openTunnel(t, b.box, nil, services...)
		b.again = func() *daemon {
			return startForeign(t, o.program, b.endpoint, b.box.CAFile(), b.tunnel.DestinationToken, targets)
		}
		b.device = b.again()
	} else {
		b.device = startDaemon(t, b.config)
		b.device.waitLog(t, "mqtt subscribed", 20*time.Second)
		b.tunnel = openTunnel(t, b.box, b.device, services...)
		b.device.waitLog(t, "tunnel connected", 20*time.Second)
	}
	b.operator = startOperator(t, b.box, b.tunnel.SourceToken)
	if o.silent {
		return b
	}
	b.back(20 * time.Second)
	b.traffic.start(t, func() (net.Conn, error) { return b.operator.connect(20*time.Second, "DATA") })
	return b
}

// startForeign runs another destination proxy with the same command line as AWS's.
func startForeign(t *testing.T, program, endpoint, ca, token string, targets map[string]string) *daemon {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var mapping []string
	for name, address := range targets {
		mapping = append(mapping, name+"="+address)
	}
	cmd := exec.Command(program, "-d", strings.Join(mapping, ","), "-e", u.Host, "-i", "11111111-2222-4333-8444-"+secret.New(token).ID()+"0000", "-v", "5")
	cmd.Dir = shortDir(t)
	cmd.Env = cleanEnv("AWSIOT_TUNNEL_ACCESS_TOKEN="+token, "SSL_CERT_FILE="+ca)
	p, err := harness.Start(program, cmd)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{Process: p}
	t.Cleanup(func() {
		_ = d.Cmd.Process.Kill()
		<-d.Exited
		if t.Failed() {
			t.Logf("log of %s:\n%s", program, d.log())
		}
	})
	return d
}

// back waits until a new connection works, and returns how long that took.
func (b *bed) back(limit time.Duration) time.Duration {
	b.t.Helper()
	start := time.Now()
	b.until(limit, "a new connection works", b.works)
	return time.Since(start).Round(time.Millisecond)
}

// until is eventually with a longer pause between tries, for conditions that cost something to check.
func (b *bed) until(limit time.Duration, what string, done func() bool) {
	b.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			b.t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// idle waits until the device has no connection left.
func (b *bed) idle() {
	b.t.Helper()
	if b.foreign {
		return // it can't be asked
	}
	b.until(time.Minute, "the device has no connection left", func() bool {
		n := 0
		for _, s := range b.status().Services {
			n += s.Connections
		}
		return n == 0
	})
}

// works reports whether a new connection does.
func (b *bed) works() bool {
	c, err := b.operator.connect(time.Second, "ECHO")
	if err != nil {
		return false
	}
	defer c.Close()
	return exchangeByteWithin(c, time.Second) == nil
}

// restart starts the daemon again after it has ended.
func (b *bed) restart() {
	b.t.Helper()
	b.device = startDaemon(b.t, b.config)
	b.device.hide(b.tunnel.DestinationToken, b.tunnel.SourceToken)
}

// rotate rotates as operators do, and gives the new token to the operator's side if it is the source's.
func (b *bed) rotate(mode string) (destination string) {
	b.t.Helper()
	var config *tunnels.DestinationConfig
	if mode != tunnels.RotateSource {
		config = &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"ECHO", "DATA"}}
	}
	r, err := b.box.Store.Rotate(b.tunnel.Tunnel.ID, mode, config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.device.hide(r.DestinationToken, r.SourceToken)
	if r.SourceToken != "" {
		b.operator.use(r.SourceToken)
	}
	return r.DestinationToken
}

// status asks the daemon without a second program: it is asked often.
func (b *bed) status() (s agent.Status) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	socket := (&device{config: b.config}).socket(b.t)
	if err := control.Call(ctx, socket, control.Request{Command: control.Status}, &s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// handshakes is how often the daemon has tried to connect the tunnel of a token.
func (b *bed) handshakes(token string) int {
	b.t.Helper()
	for _, s := range b.status().Tunnels {
		if s.Session == secret.New(token).ID() {
			return s.Attempts
		}
	}
	return 0
}

// operatorSide is a source that connects again whenever its websocket ends, with the same pair of tokens.
type operatorSide struct {
	box    *sandbox.Sandbox
	ctx    context.Context // the test's
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	token   string
	number  int
	current *proxy.Source
	changed chan struct{} // closed when current is another
}

func startOperator(t testing.TB, box *sandbox.Sandbox, token string) *operatorSide {
	t.Helper()
	o := &operatorSide{box: box, changed: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.use(token)
	o.done.Go(o.run)
	t.Cleanup(func() {
		o.cancel()
		o.done.Wait()
	})
	return o
}

// use switches to another token from the next connection on.
func (o *operatorSide) use(token string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.token = token
	o.number++
}

func (o *operatorSide) run() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		o.mu.Lock()
		s := proxy.NewSource(proxy.SourceConfig{
			Connection: proxy.Connection{
				Endpoint: o.box.RelayURL, AccessToken: secret.New(o.token),
				ClientToken: secret.New("0f0f0f0f-0000-4000-8000-" + secret.New(o.token).ID() + "0000"),
				TLS:         &tls.Config{RootCAs: o.box.CA.Pool(), MinVersion: tls.VersionTLS12},
				NetDial:     netdial.FromEnvironment().DialContext,
			},
			Form: proxy.V3,
		})
		o.current = s
		close(o.changed)
		o.changed = make(chan struct{})
		o.mu.Unlock()
		_ = s.Run(o.ctx)
		select {
		case <-o.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

var errNoWay = errors.New("the operator's side has no tunnel")

// connect opens a connection to a service, waiting for the operator's own websocket if need be.
func (o *operatorSide) connect(limit time.Duration, service string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(o.ctx, limit)
	defer cancel()
	var last error
	for {
		o.mu.Lock()
		s, changed := o.current, o.changed
		o.mu.Unlock()
		if s != nil {
			local, remote, err := harness.Pair()
			if err != nil {
				return nil, err
			}
			if last = s.Open(ctx, service, remote); last == nil {
				return local, nil
			}
			_, _ = local.Close(), remote.Close()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, cmp.Or(last, errNoWay)
		}
	}
}

// foreignProgram is AWS's local proxy, where LOCALPROXY names one.
func foreignProgram(t *testing.T) string {
	t.Helper()
	program := os.Getenv("LOCALPROXY")
	if program == "" {
		t.Skip("LOCALPROXY names no local proxy to compare with")
	}
	return program
}

// sourceSide is the operator's websocket, to the relay's faults.
var sourceSide = relay.Target{Side: tunnels.Source}
