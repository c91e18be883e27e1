package configs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const notifyTopic = "$aws/things/pi-42/tunnels/notify"

// TestTheBridgeKeepsNotificationsFromOtherClients follows the steps in bridge.conf between two brokers. As root the
// local one gives root up, as the distributions' does.
func TestTheBridgeKeepsNotificationsFromOtherClients(t *testing.T) {
	for _, p := range []string{"mosquitto", "mosquitto_sub", "mosquitto_pub", "mosquitto_passwd"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
	const owner = "mosquitto"
	root := os.Geteuid() == 0
	if _, err := user.Lookup(owner); err != nil && root {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // the broker's user passes
		t.Fatal(err)
	}
	etc := filepath.Join(dir, "mosquitto")
	bundle := filepath.Join(dir, "culvert") // is closed, as the package makes it
	for path, mode := range map[string]os.FileMode{etc: 0o755, bundle: 0o750} {
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	device := certificates(t, bundle)
	access, err := os.ReadFile("mosquitto/culvertd.acl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(etc, "culvertd.acl"), access, 0o644); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("mosquitto/bridge.conf")
	if err != nil {
		t.Fatal(err)
	}
	bridge := strings.NewReplacer("/etc/mosquitto", etc, "/etc/culvert", bundle).Replace(string(data))
	command(t, "mosquitto_passwd", "-b", "-c", filepath.Join(etc, "culvertd.passwd"), "culvertd-notify", "open-sesame")
	steps := regexp.MustCompile(`(?m)^#.*?  ((?:install|chown mosquitto:) .*)$`).FindAllStringSubmatch(bridge, -1)
	for _, step := range steps {
		line := step[1]
		if !root {
			line = strings.NewReplacer("-o mosquitto ", "", "chown mosquitto:", "ls").Replace(line)
		}
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = bundle
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	cloud := broker(t, fmt.Sprintf("allow_anonymous true\ncafile %[1]s/AmazonRootCA1.pem\ncertfile %[1]s/broker.crt\nkeyfile %[1]s/broker.key\nrequire_certificate true\n", bundle), "root")
	local := broker(t, strings.ReplaceAll(bridge, "a1b2c3d4-ats.iot.eu-west-1.amazonaws.com:8883", "127.0.0.1:"+cloud), owner)

	own := listen(t, local, "-u", "culvertd-notify", "-P", "open-sesame", "-t", notifyTopic)
	spy := listen(t, local, "-t", "$aws/#", "-t", "#", "-t", notifyTopic)
	namesake := listen(t, local, "-i", "pi-42-tunnel-notify", "-t", notifyTopic)
	// The bridge needs a moment: the cloud's word is repeated until it arrives.
	for range 50 {
		command(t, "mosquitto_pub", append([]string{"-p", cloud, "-h", "127.0.0.1", "-q", "1", "-t", notifyTopic, "-m", "from-the-cloud"}, device...)...)
		if strings.Contains(own.String(), "from-the-cloud") {
			break
		}
		<-time.After(100 * time.Millisecond)
	}
	if !strings.Contains(own.String(), "from-the-cloud") {
		t.Fatalf("the notification did not arrive: %q", own.String())
	}
	for _, as := range [][]string{nil, {"-u", "culvertd-notify", "-P", "open-sesame"}} {
		command(t, "mosquitto_pub", append([]string{"-p", local, "-q", "1", "-t", notifyTopic, "-m", "planted"}, as...)...)
	}
	if out, err := exec.Command("mosquitto_pub", "-p", local, "-u", "culvertd-notify", "-P", "guess", "-t", "x", "-m", "x").CombinedOutput(); err == nil {
		t.Errorf("a wrong password is taken: %s", out)
	}
	// A message that every client may send comes after all earlier ones.
	command(t, "mosquitto_pub", "-p", local, "-q", "1", "-t", "pi-42/telemetry", "-m", "21 degrees")
	for range 50 {
		if strings.Contains(spy.String(), "21 degrees") {
			break
		}
		<-time.After(100 * time.Millisecond)
	}
	if s := spy.String(); s != "21 degrees\n" {
		t.Errorf("a client without a password reads %q, want its telemetry alone", s)
	}
	if s := namesake.String(); s != "" {
		t.Errorf("a client with the id of culvertd-notify reads %q", s)
	}
	if strings.Contains(own.String(), "planted") {
		t.Error("a local client planted a notification")
	}
}

// certificates makes a root, a broker's certificate for loopback and a device's, and returns mosquitto_pub's options for
// the last.
func certificates(t *testing.T, dir string) (options []string) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	until := time.Now().Add(time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authority := key()
	sign := func(of *x509.Certificate, key *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, of, root, key.Public(), authority)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	issue := func(crt, private string, of *x509.Certificate) []string {
		k := key()
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		of.NotAfter = until
		return []string{"--cert", write(crt, "CERTIFICATE", sign(of, k)), "--key", write(private, "PRIVATE KEY", der)}
	}
	ca := write("AmazonRootCA1.pem", "CERTIFICATE", sign(root, authority))
	issue("broker.crt", "broker.key", &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	return append(issue("device.pem.crt", "private.pem.key", &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "pi-42"}}), "--cafile", ca)
}

// broker starts mosquitto on a free port of loopback, which it returns. Started by root it runs as the user.
func broker(t *testing.T, config, as string) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "listener %s 127.0.0.1\nuser %s\n%s", port, as, config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("mosquitto", "-c", file)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("mosquitto says:\n%s", log.String())
		}
	})
	for range 100 {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			_ = conn.Close()
			return port
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal("mosquitto does not listen")
	return ""
}

// listen subscribes and collects what arrives in a file.
func listen(t *testing.T, port string, options ...string) *output {
	t.Helper()
	o := &output{filepath.Join(t.TempDir(), "out")}
	f, err := os.Create(o.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("mosquitto_sub", append([]string{"-p", port, "-q", "1"}, options...)...)
	cmd.Stdout = f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return o
}

type output struct{ path string }

func (o *output) String() string {
	data, _ := os.ReadFile(o.path)
	return string(data)
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
