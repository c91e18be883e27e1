package e2e

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/pki"
)

// tunnelID is the client id that culvertd uses by itself.
const tunnelID = "pi-1-tunnel"

// returns lets a broker listen again where it did. Meanwhile another program may have been given the port, of all addresses,
// for a moment.
func returns(t testing.TB, b *broker.Broker) {
	t.Helper()
	var err error
	if !poll(30*time.Second, func() bool { err = b.Restart(); return err == nil || !errors.Is(err, syscall.EADDRINUSE) }) || err != nil {
		t.Fatal(err)
	}
}

// An outage of the broker does not affect tunnels, and what was published meanwhile waits for the device.
func TestTheBrokerRestartsUnderALiveTunnel(t *testing.T) {
	t.Parallel()
	d := startDevice(t, sandbox.Config{Listen: ownLoopback()}) // its ports are given up and taken again
	live := startPulse(t, connectTo(t, d.source, "ECHO"))
	for range 3 {
		mark := d.daemon.mark()
		d.box.Broker.Stop()
		d.daemon.waitLogFrom(t, mark, "mqtt connection", 10*time.Second)
		missed := openTunnel(t, d.box, d.daemon, "ECHO")
		returns(t, d.box.Broker)
		start := time.Now()
		d.daemon.waitLogFrom(t, mark, "tunnel connected "+sessionOf(missed.DestinationToken), 60*time.Second)
		t.Logf("%v after the broker's return the tunnel of a notification published meanwhile stands", time.Since(start).Round(time.Millisecond))
		if err := d.box.Store.Close(missed.Tunnel.ID, false); err != nil {
			t.Fatal(err)
		}
	}
	live.lived(t, "three restarts of the broker")
}

// After an outage longer than the session's expiry the broker has forgotten the subscription. An agent that trusts
// its session would be connected and deaf.
func TestAnOutageLongerThanTheSession(t *testing.T) {
	t.Parallel()
	d := startDevice(t, sandbox.Config{SessionExpiry: time.Second, Listen: ownLoopback()})
	mark := d.daemon.mark()
	d.box.Broker.Stop()
	d.daemon.waitLogFrom(t, mark, "mqtt connection", 10*time.Second)
	eventually(t, 20*time.Second, "the broker forgets the session", func() bool { return len(d.box.Broker.Clients()) == 0 })
	returns(t, d.box.Broker)
	start := time.Now()
	d.daemon.waitLogFrom(t, mark, "mqtt subscribed", 60*time.Second)
	t.Logf("subscribed %v after the broker's return", time.Since(start).Round(time.Millisecond))
	tunnel := openTunnel(t, d.box, d.daemon, "ECHO")
	d.daemon.waitLogFrom(t, mark, "tunnel connected "+sessionOf(tunnel.DestinationToken), 10*time.Second)
}

// fight connects to a broker under the daemon's client id whenever the daemon has subscribed, until the daemon has lost
// its connection often enough to be sure.
func fight(t *testing.T, d *daemon, address string, ca *pki.Authority, cert tls.Certificate) {
	t.Helper()
	// The daemon's own wait between two attempts is a second at least, and grows.
	const remedy = "another client probably uses the client id " + tunnelID
	for round := 1; round <= 4; round++ {
		mark := d.mark()
		o := mqtt.NewClientOptions().AddBroker("tcp://broker").SetClientID(tunnelID).SetProtocolVersion(4).SetAutoReconnect(false)
		o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			return tls.Dial("tcp", address, &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
		})
		rival := mqtt.NewClient(o)
		token := rival.Connect()
		if !token.WaitTimeout(20*time.Second) || token.Error() != nil {
			t.Fatalf("the second client does not connect: %v", token.Error())
		}
		// The daemon takes its id back, which ends the rival.
		eventually(t, 30*time.Second, "the daemon is back", func() bool { return !rival.IsConnected() && d.status(t).MQTT.State == agent.Subscribed })
		rival.Disconnect(0)
		last := d.status(t).MQTT.LastHint
		if named := strings.Contains(last, remedy); named != (round >= 3) {
			t.Fatalf("after %d losses: %s", round, last)
		}
		if warned := strings.Contains(d.log()[mark:], remedy); warned != (round == 3) {
			t.Errorf("round %d: the log says %q: %v, want it after the third loss alone", round, remedy, warned)
		}
	}
	if line := d.waitLog(t, remedy, time.Second); !strings.Contains(line, "mqtt.client_id") || !strings.Contains(line, "WARN") {
		t.Errorf("the remedy is missing: %s", line)
	}
}

func TestASecondClientWithTheSameID(t *testing.T) {
	t.Parallel()
	t.Run("at the sandbox", func(t *testing.T) {
		t.Parallel()
		d := startDevice(t, sandbox.Config{})
		live := startPulse(t, connectTo(t, d.source, "ECHO"))
		device, err := d.box.CA.OpenDevice(d.box.Dir, "pi-1")
		if err != nil {
			t.Fatal(err)
		}
		cert, err := device.TLS()
		if err != nil {
			t.Fatal(err)
		}
		fight(t, d.daemon, d.box.MQTT, d.box.CA, cert)
		live.lived(t, "a fight for the client id")
	})
	t.Run("at mosquitto", func(t *testing.T) {
		t.Parallel()
		m := newMosquitto(t, aclFile)
		files, err := m.cloud(t).Device("pi-1")
		if err != nil {
			t.Fatal(err)
		}
		cert, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		d := startDaemon(t, files.ConfigFile)
		d.waitLog(t, "mqtt subscribed", 20*time.Second)
		fight(t, d, m.address, m.ca, cert)
	})
}

// AWS IoT does not say why it drops a connection: the daemon has to. It recovers once the policy allows it.
func TestAPolicyThatRefuses(t *testing.T) {
	t.Parallel()
	all := broker.DefaultPolicy("eu-west-1", "123456789012")
	for name, c := range map[string]struct {
		policy, remedy string
		behaviour      broker.Behaviour
	}{
		"CONNECT by a drop": {
			policy: strings.Replace(all, "-tunnel", "-shell", 1), remedy: "must allow iot:Connect on client/" + tunnelID,
		},
		"CONNECT by CONNACK 7": {
			policy: strings.Replace(all, "-tunnel", "-shell", 1), remedy: "must allow iot:Connect on client/" + tunnelID,
			behaviour: broker.Behaviour{ConnackCode: 7},
		},
		"SUBSCRIBE by a drop": {
			policy: strings.Replace(all, "topicfilter/", "topicfilter/other/", 1), remedy: "must allow iot:Subscribe on topicfilter/" + notifyTopic,
		},
		"SUBSCRIBE by SUBACK 128": {
			policy: strings.Replace(all, "topicfilter/", "topicfilter/other/", 1), remedy: "must allow iot:Subscribe on topicfilter/" + notifyTopic,
			behaviour: broker.Behaviour{SubackFailure: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box := startSandbox(t, sandbox.Config{Policy: []byte(c.policy), MQTT: c.behaviour, Services: map[string]string{"ECHO": echoServer(t)}})
			files, err := box.Device("pi-1")
			if err != nil {
				t.Fatal(err)
			}
			d := startDaemon(t, files.ConfigFile)
			if line := d.waitLog(t, c.remedy, 30*time.Second); !strings.Contains(line, "WARN") {
				t.Errorf("not a warning: %s", line)
			}
			if s := d.status(t).MQTT; s.State == agent.Subscribed || !strings.Contains(s.LastHint, c.remedy) {
				t.Errorf("status: %+v", s)
			}
			policy, err := broker.ParsePolicy([]byte(all))
			if err != nil {
				t.Fatal(err)
			}
			box.Broker.SetPolicy(policy)
			start := time.Now()
			d.waitLog(t, "mqtt subscribed", 60*time.Second)
			t.Logf("subscribed %v after the policy was corrected", time.Since(start).Round(time.Millisecond))
			tunnel := openTunnel(t, box, d, "ECHO")
			d.waitLog(t, "tunnel connected "+sessionOf(tunnel.DestinationToken), 10*time.Second)
		})
	}
}

// writeDevice puts a certificate and its key in the place of a device's files, as a rotation does.
func writeDevice(t testing.TB, files sandbox.Device, ca *pki.Authority) {
	t.Helper()
	device, err := ca.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{files.CertFile: device.CertPEM, files.KeyFile: device.KeyPEM} {
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateFilesThatAreReplaced(t *testing.T) {
	t.Parallel()
	now := time.Now()
	t.Run("expired ones, without being told", func(t *testing.T) {
		t.Parallel()
		box := startSandbox(t, sandbox.Config{})
		files, err := box.Device("pi-1")
		if err != nil {
			t.Fatal(err)
		}
		writeDevice(t, files, box.CA.Between(now.Add(-48*time.Hour), now.Add(-24*time.Hour)))
		d := startDaemon(t, files.ConfigFile)
		line := d.waitLog(t, "(mqtt.cert_file) expired on "+now.Add(-24*time.Hour).UTC().Format(time.DateOnly), 20*time.Second)
		if !strings.Contains(line, "WARN") {
			t.Errorf("not a warning: %s", line)
		}
		if err := os.Remove(files.KeyFile); err != nil { // half way through a rotation
			t.Fatal(err)
		}
		d.waitLog(t, "mqtt.key_file", 60*time.Second)
		writeDevice(t, files, box.CA)
		start := time.Now()
		d.waitLog(t, "mqtt subscribed", 60*time.Second)
		t.Logf("subscribed %v after the files were replaced", time.Since(start).Round(time.Millisecond))
	})
	t.Run("good ones, under a live tunnel, by SIGHUP", func(t *testing.T) {
		t.Parallel()
		d := startDevice(t, sandbox.Config{})
		files, err := d.box.Device("pi-1")
		if err != nil {
			t.Fatal(err)
		}
		live := startPulse(t, connectTo(t, d.source, "ECHO"))
		since := d.daemon.status(t).MQTT.Since
		stays := func(line string) {
			t.Helper()
			d.daemon.signal(t, syscall.SIGHUP)
			d.daemon.waitLog(t, line, 20*time.Second)
			if s := d.daemon.status(t).MQTT; s.State != agent.Subscribed || s.Since.Sub(since).Abs() > time.Millisecond {
				t.Errorf("the connection did not stay: %+v", s)
			}
		}
		stays("configuration reloaded")
		writeDevice(t, files, d.box.CA.Between(now.Add(-48*time.Hour), now.Add(-24*time.Hour)))
		stays("expired on")
		mark := d.daemon.mark()
		writeDevice(t, files, d.box.CA)
		start := time.Now()
		d.daemon.signal(t, syscall.SIGHUP)
		d.daemon.waitLogFrom(t, mark, "certificate files have changed, reconnecting", 20*time.Second)
		d.daemon.waitLogFrom(t, mark, "mqtt subscribed", 20*time.Second)
		t.Logf("subscribed with the new files %v after SIGHUP", time.Since(start).Round(time.Millisecond))
		if log := d.daemon.log()[mark:]; strings.Contains(log, "WARN") {
			t.Errorf("a rotation of certificates is no trouble:\n%s", log)
		}
		live.lived(t, "a rotation of certificates")
	})
}

// A device without a battery for its clock starts in the past, where the broker's certificate is not valid yet.
// Here the certificate begins in the future, which is the same to the device, and is exchanged when the clock is set.
func TestTheClockIsWrongAtBoot(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	ca, err := pki.Open(dir, "e2e root")
	if err != nil {
		t.Fatal(err)
	}
	host := ownLoopback()
	start := func(address string, ca *pki.Authority) *broker.Broker {
		t.Helper()
		cert, err := ca.Server(host)
		if err != nil {
			t.Fatal(err)
		}
		var b *broker.Broker
		poll(10*time.Second, func() bool { // a program that was just being started may still hold the closed socket
			b, err = broker.Start(broker.Config{Listen: address, Certificate: cert, ClientCAs: ca.Pool(), Thing: pki.Thing})
			return !errors.Is(err, syscall.EADDRINUSE)
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	now := time.Now()
	b := start(host+":0", ca.Between(now.Add(time.Hour), now.Add(2*time.Hour)))
	box := startSandbox(t, sandbox.Config{
		Dir: dir, Services: map[string]string{"ECHO": echoServer(t)}, MQTTEndpoint: b.Addr(),
		PublishVia: func(topic string, payload []byte, qos byte) error {
			_, err := b.Publish(topic, payload, qos)
			return err
		},
	})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, files.ConfigFile)
	if line := d.waitLog(t, "this device's clock is slow, set it (NTP)", 20*time.Second); !strings.Contains(line, "not valid yet") {
		t.Errorf("not explained: %s", line)
	}
	address := b.Addr()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = start(address, ca)
	right := time.Now()
	d.waitLog(t, "mqtt subscribed", 60*time.Second)
	t.Logf("subscribed %v after the clock was right", time.Since(right).Round(time.Millisecond))
	tunnel := openTunnel(t, box, d, "ECHO")
	d.waitLog(t, "tunnel connected "+sessionOf(tunnel.DestinationToken), 10*time.Second)
}
