package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/pki"
	"github.com/culvert-iot/culvert/test/harness"
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

// TestFiguresOfATunnelThatIsUsed asks with curl, an independent HTTP client.
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
		out, err := exec.Command(curl, "--silent", "--show-error", "--fail-with-body", "--max-time", "10", "--unix-socket", socket, "http://device"+path).Output()
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

// withoutMQTT is a sandbox whose device makes no MQTT connection, and its daemon.
func withoutMQTT(t *testing.T, cfg sandbox.Config) (*sandbox.Sandbox, *daemon) {
	t.Helper()
	cfg.Services = map[string]string{"ECHO": echoServer(t)}
	box := startSandbox(t, cfg)
	device, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(device.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(filepath.Dir(device.ConfigFile), "silent.toml")
	if err := os.WriteFile(config, []byte(strings.Replace(string(text), "[mqtt]\n", "[mqtt]\nenabled = false\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, config)
	eventually(t, 10*time.Second, "culvertd answers", func() bool {
		_, err := d.run(t, "", "status")
		return err == nil
	})
	if s := d.status(t); s.MQTT.State != "disabled" {
		t.Errorf("status: %+v", s.MQTT)
	}
	return box, d
}

// TestAMosquittoBridgeCarriesNotifications runs what configs/mosquitto ships: the device's own broker is the only one that
// talks to the cloud's.
func TestAMosquittoBridgeCarriesNotifications(t *testing.T) {
	t.Parallel()
	subscriber := requireProgram(t, "mosquitto_sub")
	cloud := newMosquitto(t, aclFile)
	box, d := withoutMQTT(t, sandbox.Config{Dir: cloud.dir, PublishVia: cloud.publish, MQTTEndpoint: cloud.address})
	bridge, err := os.ReadFile("../../configs/mosquitto/bridge.conf")
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := pki.DeviceFiles(cloud.dir, "pi-1")
	text := strings.NewReplacer(
		"a1b2c3d4-ats.iot.eu-west-1.amazonaws.com:8883", cloud.address, "/etc/mosquitto/certs/AmazonRootCA1.pem", filepath.Join(cloud.dir, pki.CAFile),
		"/etc/mosquitto/certs/device.pem.crt", certFile, "/etc/mosquitto/certs/private.pem.key", keyFile, "pi-42", "pi-1",
		"/etc/mosquitto", cloud.dir,
	).Replace(string(bridge))
	access, err := os.ReadFile("../../configs/mosquitto/culvertd.acl")
	if err != nil {
		t.Fatal(err)
	}
	login := shortDir(t)
	for file, data := range map[string]string{
		filepath.Join(cloud.dir, "culvertd.acl"): strings.ReplaceAll(string(access), "pi-42", "pi-1"),
		filepath.Join(login, "mosquitto_sub"):    "-u culvertd-notify\n-P open-sesame\n",
	} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	passwords := filepath.Join(cloud.dir, "culvertd.passwd")
	if out, err := exec.Command(requireProgram(t, "mosquitto_passwd"), "-b", "-c", passwords, "culvertd-notify", "open-sesame").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	local := newMosquitto(t, func(string) string {
		return "require_certificate false\nuse_identity_as_username false\n" + text
	})
	host, port, _ := net.SplitHostPort(local.address)

	script := exec.Command("../../configs/mosquitto/culvertd-notify.sh", "pi-1", "-h", host, "-p", port, "--cafile", filepath.Join(local.dir, pki.CAFile), "--insecure")
	wrapper := filepath.Join(shortDir(t), "culvertd")
	if err := harness.WriteProgram(wrapper, []byte("#!/bin/sh\nexec "+culvertd(t)+" \"$@\" --config "+d.config+"\n")); err != nil {
		t.Fatal(err)
	}
	script.Env = append(cleanEnv(), "CULVERTD="+wrapper, "XDG_CONFIG_HOME="+login, "PATH="+filepath.Dir(subscriber)+":"+os.Getenv("PATH"))
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log harness.Buffer
	script.Stdout, script.Stderr = &log, &log
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-script.Process.Pid, syscall.SIGKILL)
		_ = script.Wait()
		if t.Failed() {
			t.Logf("the script says:\n%s", log.String())
		}
	})
	eventually(t, 30*time.Second, "the bridge and the script have subscribed", func() bool {
		return strings.Contains(cloud.log.String(), "Received SUBSCRIBE from pi-1") && strings.Contains(local.log.String(), "Received SUBSCRIBE from pi-1-tunnel-notify")
	})
	tunnel := openTunnel(t, box, d, "ECHO")
	d.waitLog(t, "tunnel connected "+sessionOf(tunnel.DestinationToken), 20*time.Second)
	source := startSource(t, box, tunnel.SourceToken, proxy.V3)
	eventually(t, 10*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	if strings.Contains(log.String(), tunnel.DestinationToken) {
		t.Error("the script shows a token")
	}
	d.stop(t)
}

// TestTheGreengrassComponentHandsOver calls what the component calls for a message of the nucleus.
func TestTheGreengrassComponentHandsOver(t *testing.T) {
	t.Parallel()
	python := requireProgram(t, "python3")
	box, d := withoutMQTT(t, sandbox.Config{})
	tunnel := openTunnel(t, box, d, "ECHO")
	const call = `import sys; sys.path.insert(0, "../../configs/greengrass"); sys.dont_write_bytecode = True
import notify
sys.exit(0 if notify.hand_over(sys.argv[1], sys.stdin.buffer.read()) else 1)`
	wrapper := filepath.Join(shortDir(t), "culvertd")
	if err := harness.WriteProgram(wrapper, []byte("#!/bin/sh\nexec "+culvertd(t)+" \"$@\" --config "+d.config+"\n")); err != nil {
		t.Fatal(err)
	}
	hand := func(payload string) (string, error) {
		cmd := exec.Command(python, "-c", call, wrapper)
		cmd.Stdin = strings.NewReader(payload)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := hand(`{"clientAccessToken":"` + tunnel.DestinationToken + `","clientMode":"destination","region":"eu-west-1","services":["ECHO"]}`)
	if err != nil || !strings.Contains(out, "accepted") || strings.Contains(out, tunnel.DestinationToken) {
		t.Fatalf("%v %s", err, out)
	}
	source := startSource(t, box, tunnel.SourceToken, proxy.V3)
	eventually(t, 10*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	if out, err := hand("{}"); err == nil || !strings.Contains(out, "clientMode") {
		t.Errorf("a bad one: %v %s", err, out)
	}
	d.stop(t)
}
