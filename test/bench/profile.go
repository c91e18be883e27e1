package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"

	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// profileSize is what is moved while the device's side is profiled, at a hundred samples a second.
const profileSize = 4 * bulkSize

// profiledDevice is the device's side of a tunnel, the daemon's data path without the daemon, under the profiler: ENDPOINT
// ROOTS TARGETS FILE, the token in the environment. The profile is written when the process is asked to end.
func profiledDevice(ctx context.Context, args []string) (err error) {
	if len(args) != 4 {
		return errors.New("usage: profiled-device ENDPOINT ROOTS TARGETS FILE")
	}
	pem, err := os.ReadFile(args[1]) //nolint:gosec // the user names the files
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	var targets map[string]string
	if err := json.Unmarshal([]byte(args[2]), &targets); err != nil {
		return err
	}
	f, err := os.Create(args[3]) //nolint:gosec // see above
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	d := proxy.NewDestination(proxy.DestinationConfig{
		Connection: proxy.Connection{
			Endpoint: args[0], AccessToken: secret.New(os.Getenv("AWSIOT_TUNNEL_ACCESS_TOKEN")),
			TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, NetDial: new(netdial.Dialer).DialContext,
		},
		DialService: func(ctx context.Context, service string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", targets[service])
		},
	})
	if err := d.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

// profile moves bulk each way through a profiled device, fresh for each, and writes a profile of each to dir.
func profile(ctx context.Context, opts options, dir string) error {
	s, err := newScene(ctx, opts, paths[0])
	if err != nil {
		return err
	}
	defer s.close()
	for _, d := range directions {
		file := filepath.Join(dir, strings.ReplaceAll(d.String(), " ", "-")+".pprof")
		if err := s.profileOne(ctx, d, file); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) profileOne(ctx context.Context, d direction, file string) (err error) {
	c := &contender{name: both}
	defer s.stop(c)
	opened, err := s.box.Store.Open(tunnels.OpenInput{
		Destination: &tunnels.DestinationConfig{ThingName: "profiled", Services: services},
	})
	if err != nil {
		return err
	}
	c.tunnel = opened.Tunnel.ID
	self, err := os.Executable()
	if err != nil {
		return err
	}
	targets, err := json.Marshal(s.targets)
	if err != nil {
		return err
	}
	if c.device, err = s.run("profiled device", true, s.env(opened.DestinationToken), self, "profiled-device",
		s.box.RelayURL, s.box.CAFile(), string(targets), file); err != nil {
		return err
	}
	if err := s.startSource(ctx, c, opened.SourceToken); err != nil {
		return err
	}
	if err := s.ready(ctx, c); err != nil {
		return err
	}
	conn, err := dial(ctx, c, "BULK")
	if err != nil {
		return err
	}
	defer conn.Close()
	took, err := bulk(conn, d, profileSize)
	if err != nil {
		return fmt.Errorf("bulk %v: %w", d, err)
	}
	fmt.Fprintf(os.Stderr, "%v: %.0f MB/s, %.2f s of processor time: go tool pprof -top %s\n", d, profileSize/1e6/took.Seconds(), c.device.cpu(), file)
	return nil
}
