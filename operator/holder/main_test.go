//go:build unix

package holder_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/holder"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// asHolder is the variable that makes this test binary a holder; its value is the place.
const asHolder = "CULVERT_TEST_HOLDER"

// place says which sandbox and thing a holder is for.
type place struct {
	Dir, Key, Version string

	API, Relay, Region, CAFile string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(asHolder); text != "" {
		if err := runHolder(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runHolder(text string) error {
	var p place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	pem, err := os.ReadFile(p.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	s := &holder.Server{Thing: "pi-1", Version: p.Version, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Config: connect.Config{
		API: iot.New(iot.Options{Region: p.Region, BaseEndpoint: &p.API, Credentials: aws.CredentialsProviderFunc(
			func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "thing"}, nil
			})}),
		Region: p.Region, DataEndpoint: p.Relay, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, Destination: connect.V3,
	}}
	return holder.Run(context.Background(), s, p.Dir, p.Key)
}

// site is a sandbox with a device that echoes, and a user's directory.
type site struct {
	*sandbox.Sandbox

	dir  string
	away atomic.Bool                      // the device answers no notification
	keep atomic.Pointer[proxy.Resumption] // the device keeps connections in it; nil: it keeps none
}

func newSite(t *testing.T) *site {
	t.Helper()
	if !holder.Supported {
		t.Skip("this system has no holders")
	}
	box, err := sandbox.Start(context.Background(), sandbox.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var devices sync.WaitGroup
	s := &site{Sandbox: box, dir: shortDir(t)}
	box.Store.OnNotify(func(_ string, n tunnels.Notify) {
		if !s.away.Load() {
			devices.Go(func() { runDevice(ctx, box, n.ClientAccessToken, s.keep.Load()) })
		}
	})
	t.Cleanup(func() {
		list, _, _ := holder.All(s.dir, "")
		for _, h := range list {
			if t.Failed() {
				log, _ := os.ReadFile(h.Log)
				t.Logf("log of a holder:\n%s", log)
			}
			_ = syscall.Kill(h.PID, syscall.SIGKILL)
		}
		cancel()
		devices.Wait()
		_ = box.Close()
	})
	return s
}

// shortDir is a directory for sockets, whose paths are short.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// runDevice serves one token: every service echoes. keep may be nil.
func runDevice(ctx context.Context, box *sandbox.Sandbox, token string, keep *proxy.Resumption) {
	_ = proxy.NewDestination(proxy.DestinationConfig{
		Connection: proxy.Connection{
			Endpoint: box.RelayURL, AccessToken: secret.New(token), ClientToken: secret.New("0123456789abcdef0123456789abcdef-" + secret.New(token).ID()),
			TLS: &tls.Config{RootCAs: box.CA.Pool(), MinVersion: tls.VersionTLS12},
		},
		DialService: func(context.Context, string) (net.Conn, error) {
			return harness.DialHandler(harness.Echo)
		},
		DefaultService: func(list []string) (string, error) { return list[0], nil },
		Resume:         keep,
	}).Run(ctx)
}

// client returns a client whose holder is this test binary.
func (s *site) client(t *testing.T, key, version string) *holder.Client {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(place{s.dir, key, version, s.APIURL, s.RelayURL, s.Region, s.CAFile()})
	if err != nil {
		t.Fatal(err)
	}
	return &holder.Client{Thing: "pi-1", Dir: s.dir, Key: key, Version: version, Command: []string{"/usr/bin/env", asHolder + "=" + string(text), self}}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func attach(t *testing.T, c *holder.Client, persist time.Duration, services ...string) *holder.Tunnel {
	t.Helper()
	tunnel, err := c.Attach(within(t), holder.Request{Services: services, Persist: persist}, func(connect.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tunnel.Close() })
	return tunnel
}

// talk sends a line over a new connection and expects it back, with an orderly end.
func talk(t *testing.T, tunnel *holder.Tunnel, line string) {
	t.Helper()
	c, err := tunnel.Dial(within(t), "SSH")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != line {
		t.Errorf("%q, %v, want %q", got, err, line)
	}
}

func (s *site) holders(t *testing.T) []holder.Status {
	t.Helper()
	list, _, err := holder.All(s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// open returns the ids of the sandbox's open tunnels.
func (s *site) open() (ids []string) {
	for _, t := range s.Store.List("") {
		if t.Status == tunnels.Open {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !harness.Poll(20*time.Second, done) {
		t.Fatalf("not within 20 s: %s", what)
	}
}

func ended(pid int) bool { return syscall.Kill(pid, 0) != nil }
