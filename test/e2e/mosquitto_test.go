package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/test/harness"

	"github.com/aws/aws-sdk-go-v2/aws"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/pki"
)

const (
	notifyTopic = "$aws/things/pi-1/tunnels/notify"
	cloudName   = "cloud" // who publishes notifications
)

// mosquitto is a real broker with mutual TLS that knows its clients by the common names of their certificates.
type mosquitto struct {
	path, dir string
	address   string
	ca        *pki.Authority
	cmd       *exec.Cmd
	log       harness.Buffer
	exited    chan struct{}
}

// newMosquitto starts a broker. rules are the lines of its configuration that say who may do what.
func newMosquitto(t *testing.T, rules func(dir string) string) *mosquitto {
	t.Helper()
	m := &mosquitto{path: requireProgram(t, "mosquitto"), dir: shortDir(t)}
	var err error
	// The sandbox opens the same authority in the same directory.
	if m.ca, err = pki.Open(m.dir, "e2e root"); err != nil {
		t.Fatal(err)
	}
	host := ownLoopback()
	server, err := m.ca.Server(host)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate[0]}))
	m.write(t, "server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	allowed := rules(m.dir)
	for attempt := 1; ; attempt++ {
		m.address = freePort(t, host)
		_, port, _ := net.SplitHostPort(m.address)
		config := []string{
			"listener " + port + " " + host,
			"cafile " + filepath.Join(m.dir, pki.CAFile),
			"certfile " + filepath.Join(m.dir, "server.pem"),
			"keyfile " + filepath.Join(m.dir, "server.key"),
			"require_certificate true", "use_identity_as_username true",
			"persistence false", "log_dest stderr", "log_type all", allowed,
		}
		if os.Geteuid() == 0 {
			config = append(config, "user root") // else it becomes a user who may not read these files
		}
		m.write(t, "mosquitto.conf", []byte(strings.Join(config, "\n")+"\n"))
		if m.start(t) {
			break
		}
		if attempt == 3 {
			t.Fatalf("mosquitto does not start:\n%s", m.log.String())
		}
	}
	t.Cleanup(func() {
		m.stop()
		if t.Failed() {
			t.Logf("log of mosquitto:\n%s", m.log.String())
		}
	})
	return m
}

func (m *mosquitto) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ownLoopback is a rarely used address of the loopback interface: a port of 127.0.0.1 that was given
// up for a while may belong to another test's connection when it is wanted again.
func ownLoopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
}

// freePort is an address without a listener at this moment.
func freePort(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the broker and waits until it listens; false when it ended instead.
func (m *mosquitto) start(t *testing.T) bool {
	t.Helper()
	m.cmd = exec.Command(m.path, "-c", filepath.Join(m.dir, "mosquitto.conf"))
	m.cmd.Stdout, m.cmd.Stderr, m.cmd.Env = &m.log, &m.log, cleanEnv()
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, exited := m.cmd, make(chan struct{})
	m.exited = exited
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	up := false
	poll(10*time.Second, func() bool {
		select {
		case <-exited:
			return true
		default:
		}
		c, err := net.Dial("tcp", m.address)
		if err == nil {
			_ = c.Close()
			up = true
		}
		return up
	})
	return up
}

func (m *mosquitto) stop() {
	_ = m.cmd.Process.Kill()
	<-m.exited
}

// publish sends one message as the service does, from a connection of its own.
func (m *mosquitto) publish(topic string, payload []byte, qos byte) error {
	cloud, err := m.ca.OpenDevice(m.dir, cloudName)
	if err != nil {
		return err
	}
	cert, err := cloud.TLS()
	if err != nil {
		return err
	}
	o := mqtt.NewClientOptions().AddBroker("tcp://broker").SetClientID("cloud").SetProtocolVersion(4).SetAutoReconnect(false)
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		return tls.Dial("tcp", m.address, &tls.Config{RootCAs: m.ca.Pool(), Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	})
	client := mqtt.NewClient(o)
	defer client.Disconnect(50)
	for _, step := range []func() mqtt.Token{client.Connect, func() mqtt.Token { return client.Publish(topic, qos, false, payload) }} {
		token := step()
		if !token.WaitTimeout(10 * time.Second) {
			return errors.New("mosquitto does not answer the cloud")
		}
		if err := token.Error(); err != nil {
			return err
		}
	}
	return nil
}

// cloud is a sandbox whose notifications go through the broker.
func (m *mosquitto) cloud(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	return startSandbox(t, sandbox.Config{
		Dir: m.dir, Services: map[string]string{"ECHO": echoServer(t)},
		PublishVia: m.publish, MQTTEndpoint: m.address,
	})
}

// aclFile lets the device read its notifications and nothing else, and the cloud write them.
func aclFile(dir string) string {
	path := filepath.Join(dir, "acl")
	lines := []string{"user pi-1", "topic read " + notifyTopic, "user " + cloudName, "topic write $aws/things/+/tunnels/notify", ""}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		panic(err)
	}
	return "allow_anonymous false\nacl_file " + path
}

// TestMosquittoCarriesNotifications runs the whole job with an independent broker, opening and rotating
// through the control API, and restarts it.
func TestMosquittoCarriesNotifications(t *testing.T) {
	t.Parallel()
	broker := newMosquitto(t, aclFile)
	box := broker.cloud(t)
	device, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, device.ConfigFile)
	d.waitLog(t, "mqtt subscribed", 10*time.Second)
	api := iotsecuretunneling.New(iotsecuretunneling.Options{
		Region: box.Region, BaseEndpoint: &box.APIURL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
		}),
	})
	to := &types.DestinationConfig{ThingName: aws.String("pi-1"), Services: []string{"ECHO"}}
	// Each token is called with by one notification, which the control API publishes through the broker.
	connected := func(token *string) {
		t.Helper()
		d.hide(*token)
		d.waitLog(t, "tunnel connected "+sessionOf(*token), 10*time.Second)
	}
	carries := func() {
		t.Helper()
		opened, err := api.OpenTunnel(t.Context(), &iotsecuretunneling.OpenTunnelInput{DestinationConfig: to})
		if err != nil {
			t.Fatal(err)
		}
		connected(opened.DestinationAccessToken)
		rotated, err := api.RotateTunnelAccessToken(t.Context(), &iotsecuretunneling.RotateTunnelAccessTokenInput{
			TunnelId: opened.TunnelId, ClientMode: types.ClientModeDestination, DestinationConfig: to,
		})
		if err != nil {
			t.Fatal(err)
		}
		connected(rotated.DestinationAccessToken)
		d.waitLog(t, "tunnel ended "+sessionOf(*opened.DestinationAccessToken), 10*time.Second)
		source := startSource(t, box, *opened.SourceAccessToken, proxy.V3)
		eventually(t, 5*time.Second, "data through the tunnel", func() bool { return answers(source, "ECHO", time.Second) })
	}
	carries()

	mark := d.mark()
	broker.stop()
	eventually(t, 10*time.Second, "culvertd notices that the broker is gone", func() bool { return d.status(t).MQTT.State != "subscribed" })
	if !broker.start(t) {
		t.Fatal("mosquitto does not start again")
	}
	// The broker kept nothing: only a new SUBSCRIBE makes the device hear again.
	d.waitLogFrom(t, mark, "mqtt subscribed", 20*time.Second)
	carries()
	if s := d.status(t); s.MQTT.State != "subscribed" || s.MQTT.LastError == "" {
		t.Errorf("status after the restart: %+v", s.MQTT)
	}
	d.stop(t)
}

// dynamicSecurity is the plugin of mosquitto that can refuse a SUBSCRIBE; its ACL file only holds messages back.
func dynamicSecurity(t *testing.T) func(dir string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/*/mosquitto_dynamic_security.so")
	if len(found) == 0 {
		missingProgram(t, "mosquitto's dynamic security plugin")
	}
	return func(dir string) string {
		type object map[string]any
		text, err := json.Marshal(object{
			"defaultACLAccess": object{"publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true},
			"clients":          []object{{"username": "pi-1", "roles": []object{}}},
		})
		if err != nil {
			panic(err)
		}
		path := filepath.Join(dir, "security.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			panic(err)
		}
		return fmt.Sprintf("plugin %s\nplugin_opt_config_file %s", found[0], path)
	}
}

func TestMosquittoThatDeniesTheSubscription(t *testing.T) {
	t.Parallel()
	broker := newMosquitto(t, dynamicSecurity(t))
	device, err := broker.cloud(t).Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, device.ConfigFile)
	remedy := "must allow iot:Subscribe on topicfilter/" + notifyTopic
	line := d.waitLog(t, remedy, 10*time.Second)
	if !strings.Contains(line, "WARN") {
		t.Errorf("not a warning: %s", line)
	}
	if s := d.status(t); s.MQTT.State == "subscribed" || !strings.Contains(s.MQTT.LastHint, remedy) {
		t.Errorf("status: %+v", s.MQTT)
	}
	d.stop(t)
}

func TestMosquittoOfAnotherAuthority(t *testing.T) {
	t.Parallel()
	broker := newMosquitto(t, aclFile)
	other, err := pki.New("another root")
	if err != nil {
		t.Fatal(err)
	}
	device, err := broker.cloud(t).Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(device.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	broker.write(t, "other.pem", other.PEM())
	broker.write(t, "other.toml", []byte(strings.Replace(string(text), `ca_file   = "ca.pem"`, `ca_file   = "other.pem"`, 1)))
	d := startDaemon(t, filepath.Join(broker.dir, "other.toml"))
	line := d.waitLog(t, "mqtt.ca_file", 10*time.Second)
	if !strings.Contains(line, broker.address) {
		t.Errorf("the endpoint is not named: %s", line)
	}
	d.stop(t)
}
