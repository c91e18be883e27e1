package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// figure finds a figure in a page of Prometheus text; -1 when it is not there.
func figure(page, name string) int {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\d+)$`).FindStringSubmatch(page)
	if m == nil {
		return -1
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// TestFiguresOfATunnelThatIsUsed asks with curl, an HTTP client that nobody here wrote.
func TestFiguresOfATunnelThatIsUsed(t *testing.T) {
	t.Parallel()
	curl := requireProgram(t, "curl")
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t)}})
	device, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(device.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(shortDir(t), "m")
	config := filepath.Join(filepath.Dir(device.ConfigFile), "figures.toml")
	if err := os.WriteFile(config, append(text, "\n[metrics]\nlisten = \"unix:"+socket+"\"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(path string) (string, error) {
		out, err := exec.Command(curl, "--silent", "--show-error", "--fail-with-body", "--max-time", "10", "--unix-socket", socket, "http://device"+path).CombinedOutput()
		return string(out), err
	}
	d := startDaemon(t, config)
	d.waitLog(t, "mqtt subscribed", 10*time.Second)
	if out, err := ask("/healthz"); err != nil || out != "ok\n" {
		t.Errorf("healthz: %q, %v", out, err)
	}
	tunnel := openTunnel(t, box, d, "ECHO")
	source := startSource(t, box, tunnel.SourceToken, proxy.V3)
	eventually(t, 10*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	page, err := ask("/metrics")
	if err != nil {
		t.Fatal(page, err)
	}
	in, out := figure(page, `culvertd_service_received_bytes_total{service="ECHO"}`), figure(page, `culvertd_service_sent_bytes_total{service="ECHO"}`)
	if in < 1 || in != out || figure(page, `culvertd_service_connections_total{service="ECHO"}`) < 1 || figure(page, `culvertd_tunnels{state="connected"}`) != 1 ||
		figure(page, `culvertd_notifications_total{result="accepted"}`) != 1 || figure(page, "culvertd_mqtt_subscribed") != 1 {
		t.Errorf("the figures do not tell what happened:\n%s", page)
	}
	box.Broker.Stop()
	eventually(t, 10*time.Second, "healthz tells of the broker", func() bool {
		out, err := ask("/healthz")
		return err != nil && strings.HasPrefix(out, "mqtt ") && strings.Count(out, "\n") == 1
	})
	d.stop(t)
}

// TestAUserNameInThePlaceOfACertificate logs in to mosquitto as a custom authorizer sees it: the parameters are part of the
// user name.
func TestAUserNameInThePlaceOfACertificate(t *testing.T) {
	t.Parallel()
	passwd := requireProgram(t, "mosquitto_passwd")
	const user = "pi?x-amz-customauthorizer-name=Auth&token=t1&x-amz-customauthorizer-signature=c2ln"
	broker := newMosquitto(t, func(dir string) string {
		file := filepath.Join(dir, "passwords")
		if out, err := exec.Command(passwd, "-c", "-b", file, user, "open sesame").CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		return "require_certificate false\nuse_identity_as_username false\nallow_anonymous false\npassword_file " + file
	})
	broker.write(t, "password", []byte("open sesame\n"))
	broker.write(t, "wrong", []byte("open barley\n"))
	broker.write(t, "token", []byte("token=t1&x-amz-customauthorizer-signature=c2ln\n"))
	config := func(password string) string {
		name := "by-name-" + password + ".toml"
		broker.write(t, name, []byte(`thing_name = "pi-1"
[mqtt]
endpoint = "`+broker.address+`"
ca_file = "ca.pem"
authorizer = "Auth"
authorizer_token_file = "token"
username = "pi"
password_file = "`+password+`"
[tunnel]
state_dir = ""
[control]
socket = "`+password+`.sock"
`))
		return filepath.Join(broker.dir, name)
	}
	d := startDaemon(t, config("password"))
	d.waitLog(t, "mqtt subscribed", 10*time.Second)
	d.stop(t)
	if log := d.log(); strings.Contains(log, "sesame") || strings.Contains(log, "c2ln") {
		t.Error("a secret is in the log")
	}
	d = startDaemon(t, config("wrong"))
	line := d.waitLog(t, "check mqtt.username, mqtt.password_file, mqtt.authorizer and its token", 10*time.Second)
	if strings.Contains(line, "barley") || strings.Contains(line, "c2ln") {
		t.Error("a secret is in the log: " + line)
	}
	d.stop(t)
}
