package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// localproxy is a running culvert proxy.
type localproxy struct{ *daemon }

// startProxy runs culvert proxy against the sandbox with a token in the environment.
func startProxy(t testing.TB, box *sandbox.Sandbox, token string, args ...string) localproxy {
	t.Helper()
	return runProxy(t, shortDir(t), []string{
		"AWSIOT_TUNNEL_ACCESS_TOKEN=" + token, "AWSIOT_TUNNEL_ENDPOINT=" + box.RelayURL, "SSL_CERT_FILE=" + box.CAFile(),
	}, []string{token}, args...)
}

// runProxy runs culvert proxy in a directory, with an environment, and with secrets that its log must not show.
func runProxy(t testing.TB, dir string, env, secrets []string, args ...string) localproxy {
	t.Helper()
	program, err := buildCulvert()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append([]string{"proxy"}, args...)...)
	cmd.Dir = dir
	cmd.Env = cleanEnv(env...)
	p, err := harness.Start("culvert proxy", cmd)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{Process: p}
	d.hide(secrets...)
	t.Cleanup(func() {
		d.end(t)
		d.checkSecrets(t)
		if t.Failed() {
			t.Logf("log of culvert proxy %v:\n%s", args, d.log())
		}
	})
	return localproxy{d}
}

const proxyLimit = 10 * time.Second

// connected waits for the line that scripts wait for.
func (p localproxy) connected(t testing.TB) {
	t.Helper()
	p.waitLog(t, "Successfully established websocket connection", proxyLimit)
}

var listening = regexp.MustCompile(`Listening for new connection on port (\d+)`)

// port returns a source's only port.
func (p localproxy) port(t testing.TB) string {
	t.Helper()
	return listening.FindStringSubmatch(p.waitLog(t, "Listening for new connection on port", proxyLimit))[1]
}

// wantExit checks how the proxy ended by itself.
func (p localproxy) wantExit(t testing.TB, code int) {
	t.Helper()
	if got := p.waitExit(t, proxyLimit); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
}

func dialPort(t testing.TB, port string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

func tunnelFor(t testing.TB, box *sandbox.Sandbox, services ...string) tunnels.Opened {
	t.Helper()
	in := tunnels.OpenInput{}
	if len(services) > 0 {
		in.Destination = &tunnels.DestinationConfig{ThingName: "pi-1", Services: services}
	}
	opened, err := box.Store.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func wantEcho(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != text {
		t.Fatalf("got %q (%v) back, want %q", buf, err, text)
	}
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func echoes(c net.Conn, text string) error {
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := c.Write([]byte(text)); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	if string(buf) != text {
		return fmt.Errorf("%s: %q came back", text, buf)
	}
	return nil
}
