package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// Names of what is compared.
const (
	both  = "culvert" // culvert proxy and culvertd
	other = "peer"    // the other program at both ends
	mixed = "mixed"   // the other program as source, culvertd as device
	plain = "plain"   // TLS alone
)

// scene is what all contenders share on one path: the relay, the servers, the network between.
type scene struct {
	opts    options
	path    path
	place   place
	shaped  bool // the place has the path's delay and loss: the relay needs to play none
	box     *sandbox.Sandbox
	targets map[string]string
	plain   plainTLS
	dir     string
	things  int
	parts   []*process
}

// contender is one of those that are compared, running.
type contender struct {
	name           string
	device, source *process
	ports          map[string]string // of each service, where clients connect
	tunnel         string            // at the relay; "" if it needs none
}

func newScene(ctx context.Context, opts options, p path) (s *scene, err error) {
	s = &scene{opts: opts, path: p, place: here()}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if p.rtt > 0 {
		there, e := away(ctx, p)
		switch {
		case e == nil:
			s.place, s.shaped = there, true
		case p.loss > 0:
			return s, fmt.Errorf("packets can be lost only between network name spaces: %w", e)
		}
	}
	if s.dir, err = os.MkdirTemp("", "culvert-peers-"); err != nil {
		return s, err
	}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	servers, err := s.run("targets", true, nil, self, "targets")
	if err != nil {
		return s, err
	}
	s.parts = append(s.parts, servers)
	line, err := servers.waitFor(ctx, "{")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(line), &s.targets); err != nil {
		return s, err
	}
	cfg := sandbox.Config{
		Dir: filepath.Join(s.dir, "box"), Listen: s.place.relay, Services: s.targets,
		Relay: relay.Config{Cutting: relay.Straight},
	}
	if s.box, err = sandbox.Start(ctx, cfg); err != nil {
		return s, err
	}
	s.plain.roots = s.box.CAFile()
	s.plain.cert, s.plain.key, err = s.box.CA.ServerFiles(s.dir, s.place.relay, s.place.device)
	return s, err
}

func (s *scene) close() {
	for _, p := range s.parts {
		p.stop()
	}
	if s.box != nil {
		_ = s.box.Close()
	}
	s.place.close()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// run starts a program, at the device's place or the operator's.
func (s *scene) run(name string, atDevice bool, env []string, argv ...string) (*process, error) {
	if atDevice {
		argv = append(slices.Clone(s.place.prefix), argv...)
	}
	return start(name, argv, harness.CleanEnv(env...))
}

// start brings up a contender, fresh: a tunnel and processes of its own, so that nothing is left of an earlier measurement.
func (s *scene) start(ctx context.Context, name string) (c *contender, err error) {
	c = &contender{name: name}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start %s: %w", name, err)
			s.stop(c)
		}
	}()
	if name == plain {
		err = s.startPlain(ctx, c)
	} else {
		err = s.startTunnel(ctx, c)
	}
	if err != nil {
		return c, err
	}
	return c, s.ready(ctx, c)
}

func (s *scene) stop(c *contender) {
	for _, p := range []*process{c.source, c.device} {
		if p != nil {
			p.stop()
		}
	}
	if c.tunnel != "" {
		s.box.Relay.Faults().Set(relay.Target{Tunnel: c.tunnel}, relay.Conditions{})
		s.box.Relay.Faults().Set(relay.Target{Tunnel: c.tunnel, Side: tunnels.Destination}, relay.Conditions{})
		_ = s.box.Store.Close(c.tunnel, true)
	}
}

func (s *scene) startTunnel(ctx context.Context, c *contender) error {
	s.things++
	device, err := s.box.Device(fmt.Sprintf("device-%d", s.things))
	if err != nil {
		return err
	}
	daemon := c.name != other
	if daemon {
		if c.device, err = s.run("culvertd", true, nil, s.opts.culvertd, "--config", device.ConfigFile); err != nil {
			return err
		}
		if _, err := c.device.waitFor(ctx, "mqtt subscribed"); err != nil {
			return err
		}
	}
	opened, err := s.box.Store.Open(tunnels.OpenInput{
		Destination: &tunnels.DestinationConfig{ThingName: device.Thing, Services: services},
	})
	if err != nil {
		return err
	}
	c.tunnel = opened.Tunnel.ID
	s.shape(c.tunnel)
	if daemon {
		if _, err := c.device.waitFor(ctx, "tunnel connected"); err != nil {
			return err
		}
	} else if c.device, err = s.run("device", true, s.env(opened.DestinationToken), s.opts.peer, "-d", mapping(s.targets), "-b", "127.0.0.1"); err != nil {
		return err
	}
	return s.startSource(ctx, c, opened.SourceToken)
}

// env names the relay to a proxy.
func (s *scene) env(token string) []string {
	return []string{
		"AWSIOT_TUNNEL_ACCESS_TOKEN=" + token,
		"AWSIOT_TUNNEL_ENDPOINT=" + strings.TrimPrefix(s.box.RelayURL, "wss://"),
		"SSL_CERT_FILE=" + s.box.CAFile(),
	}
}

// startSource starts the operator's side.
func (s *scene) startSource(ctx context.Context, c *contender, token string) (err error) {
	if c.ports, err = freePorts(ctx); err != nil {
		return err
	}
	source := []string{s.opts.peer}
	if c.name == both {
		source = []string{s.opts.culvert, "proxy"}
	}
	ports := map[string]string{}
	for service, address := range c.ports {
		_, ports[service], _ = net.SplitHostPort(address)
	}
	c.source, err = s.run("source", false, s.env(token), append(source, "-s", mapping(ports), "-b", "127.0.0.1")...)
	return err
}

// shape puts the path's conditions on a tunnel.
func (s *scene) shape(tunnel string) {
	if s.path.rate > 0 {
		s.box.Relay.Faults().Set(relay.Target{Tunnel: tunnel}, relay.Conditions{RateLimit: s.path.rate, RateShared: true})
	}
	if s.path.rtt > 0 && !s.shaped {
		s.box.Relay.Faults().Set(relay.Target{Tunnel: tunnel, Side: tunnels.Destination}, relay.Conditions{Delay: s.path.rtt / 2})
	}
}

func (s *scene) startPlain(ctx context.Context, c *contender) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	targets, err := json.Marshal(s.targets)
	if err != nil {
		return err
	}
	c.device, err = s.run("plain device", true, nil, self, "plain-device", s.plain.cert, s.plain.key, s.place.device+":0", string(targets))
	if err != nil {
		return err
	}
	line, err := c.device.waitFor(ctx, `"`)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.place.relay+":0")
	if err != nil {
		return err
	}
	if err := plainRelay(ctx, l, s.plain, strings.Trim(line, `"`)); err != nil {
		return err
	}
	if c.source, err = s.run("plain source", false, nil, self, "plain-source", s.plain.roots, l.Addr().String()); err != nil {
		return err
	}
	if line, err = c.source.waitFor(ctx, "{"); err != nil {
		return err
	}
	return json.Unmarshal([]byte(line), &c.ports)
}

// ready waits until a byte comes back through the contender.
func (s *scene) ready(ctx context.Context, c *contender) (err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err = s.tryEcho(ctx, c); err == nil {
			return nil
		}
		if !c.device.Running() || !c.source.Running() {
			return fmt.Errorf("it ended: %w\n%s%s", err, c.device.Output.String(), c.source.Output.String())
		}
		if e := backoff.Sleep(ctx, 50*time.Millisecond); e != nil {
			return e
		}
	}
	return fmt.Errorf("nothing comes back within %v: %w", patience, err)
}

func (s *scene) tryEcho(ctx context.Context, c *contender) error {
	conn, err := dial(ctx, c, "ECHO")
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second + 5*s.path.rtt))
	b := []byte{'?'}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, b)
	return err
}

// dial connects to a service through the contender.
func dial(ctx context.Context, c *contender, service string) (net.Conn, error) {
	return (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", c.ports[service])
}

func mapping(of map[string]string) string {
	var list []string
	for _, service := range services {
		list = append(list, service+"="+of[service])
	}
	return strings.Join(list, ",")
}

// freePorts finds a port for each service, for programs that cannot say which one they took.
func freePorts(ctx context.Context) (map[string]string, error) {
	ports := map[string]string{}
	for _, service := range services {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // once all are found, so that no two are the same
		ports[service] = l.Addr().String()
	}
	return ports, nil
}
