package configs

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const notifyTopic = "$aws/things/pi-42/tunnels/notify"

// TestTheBridgeKeepsNotificationsFromOtherClients runs bridge.conf and its access list between two brokers,
// without TLS.
func TestTheBridgeKeepsNotificationsFromOtherClients(t *testing.T) {
	for _, p := range []string{"mosquitto", "mosquitto_sub", "mosquitto_pub", "mosquitto_passwd"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	passwords := filepath.Join(dir, "culvertd.passwd")
	command(t, "mosquitto_passwd", "-b", "-c", passwords, "culvertd-notify", "open-sesame")
	access, err := os.ReadFile("mosquitto/culvertd.acl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "culvertd.acl"), access, 0o600); err != nil {
		t.Fatal(err)
	}
	bridge, err := os.ReadFile("mosquitto/bridge.conf")
	if err != nil {
		t.Fatal(err)
	}
	cloud := broker(t, "allow_anonymous true\n")
	text := regexp.MustCompile(`(?m)^bridge_(cafile|certfile|keyfile) .*\n`).ReplaceAllString(string(bridge), "")
	text = strings.ReplaceAll(text, "a1b2c3d4-ats.iot.eu-west-1.amazonaws.com:8883", "127.0.0.1:"+cloud)
	local := broker(t, strings.ReplaceAll(text, "/etc/mosquitto", dir))

	own := listen(t, local, "-u", "culvertd-notify", "-P", "open-sesame", "-t", notifyTopic)
	spy := listen(t, local, "-t", "$aws/#", "-t", "#", "-t", notifyTopic)
	namesake := listen(t, local, "-i", "pi-42-tunnel-notify", "-t", notifyTopic)
	// The bridge needs a moment: the cloud's word is repeated until it arrives.
	for range 50 {
		command(t, "mosquitto_pub", "-p", cloud, "-q", "1", "-t", notifyTopic, "-m", "from-the-cloud")
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

// broker starts mosquitto on a free port of loopback, which it returns.
func broker(t *testing.T, config string) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	user := ""
	if os.Geteuid() == 0 {
		user = "user root\n" // the files of the test are root's
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, "listener %s 127.0.0.1\n%s%s", port, user, config), 0o600); err != nil {
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
