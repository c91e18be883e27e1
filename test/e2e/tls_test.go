package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/pki"
	"github.com/culvert-iot/culvert/test/harness"
)

// withoutRoots is the environment of a small image that has no root certificates.
func withoutRoots(t *testing.T) []string {
	t.Helper()
	nothing := t.TempDir()
	return []string{"SSL_CERT_FILE=" + filepath.Join(nothing, "none.pem"), "SSL_CERT_DIR=" + nothing}
}

// without drops the lines of one table of a configuration that begin so.
func without(t *testing.T, path, table, begins string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	in := false
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool {
		if strings.HasPrefix(line, "[") {
			in = line == "["+table+"]"
		}
		return in && strings.HasPrefix(line, begins)
	})
	changed := strings.Join(lines, "\n")
	if changed == string(text) {
		t.Fatalf("[%s] has no line that begins with %q", table, begins)
	}
	path = filepath.Join(filepath.Dir(path), table+"-without-roots.toml")
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWithoutRootCertificatesTheRemedyIsTold runs on an image without a trust store: nothing is trusted then, and the
// error says what to install instead of speaking of an unknown authority alone.
func TestWithoutRootCertificatesTheRemedyIsTold(t *testing.T) {
	t.Parallel()
	const missing, install = "this system has no root certificates", "install ca-certificates"
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t)}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("of the MQTT endpoint", func(t *testing.T) {
		d := startDaemon(t, without(t, files.ConfigFile, "mqtt", "ca_file"), withoutRoots(t)...)
		line := d.waitLog(t, "mqtt connection failed", 20*time.Second)
		if !strings.Contains(line, missing) || !strings.Contains(line, install) || !strings.Contains(line, "mqtt.ca_file") {
			t.Errorf("%s", line)
		}
		d.stop(t)
	})
	t.Run("of the tunnel endpoint", func(t *testing.T) {
		d := startDaemon(t, without(t, files.ConfigFile, "tunnel", "ca_file"), withoutRoots(t)...)
		d.waitLog(t, "mqtt subscribed", 20*time.Second)
		openTunnel(t, box, d, "ECHO")
		line := d.waitLog(t, "tunnel not connected", 20*time.Second)
		if !strings.Contains(line, missing) || !strings.Contains(line, install) {
			t.Errorf("%s", line)
		}
		if got := d.status(t).Tunnels[0]; got.Connects != 0 || !strings.Contains(got.LastHint, install) {
			t.Errorf("%+v", got)
		}
		d.stop(t)
	})
	t.Run("of culvert proxy", func(t *testing.T) {
		tunnel := tunnelFor(t, box, "ECHO")
		o := newOperatorSite(t, box)
		o.env = append(o.env, withoutRoots(t)...)
		o.env = append(o.env, "AWSIOT_TUNNEL_ACCESS_TOKEN="+tunnel.SourceToken)
		cmd := o.culvert(t, "proxy", "-e", box.RelayURL, "-s", "ECHO=0")
		var out harness.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "the remedy", func() bool { return strings.Contains(out.String(), install) })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if !strings.Contains(out.String(), missing) {
			t.Error(out.String())
		}
	})
	t.Run("another root in the store changes nothing", func(t *testing.T) {
		d := startDaemon(t, without(t, files.ConfigFile, "mqtt", "ca_file"), "SSL_CERT_FILE="+anotherRoot(t), "SSL_CERT_DIR="+t.TempDir())
		line := d.waitLog(t, "mqtt connection failed", 20*time.Second)
		if strings.Contains(line, missing) || !strings.Contains(line, "authority that is not trusted") {
			t.Errorf("%s", line)
		}
	})
}

// anotherRoot is the certificate of an authority that has nothing to do with the sandbox.
func anotherRoot(t *testing.T) string {
	t.Helper()
	authority, err := pki.New("another")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
