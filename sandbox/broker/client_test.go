package broker

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/sandbox/pki"
	"github.com/culvert-iot/culvert/test/capture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	thing  = "pi-1"
	notify = "$aws/things/pi-1/tunnels/notify"
)

// newConfig makes a configuration with certificates, and the authority that issued them.
func newConfig(t *testing.T) (Config, *pki.Authority) {
	t.Helper()
	ca, err := pki.New("test")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Certificate: server, ClientCAs: ca.Pool(), Thing: pki.Thing}, ca
}

func start(t *testing.T, cfg Config) *Broker {
	t.Helper()
	b, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

func deviceTLS(t *testing.T, ca *pki.Authority, name string) *tls.Config {
	t.Helper()
	d, err := ca.Device(name)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := d.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{cert}, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

func policy(t *testing.T, document string) Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// client speaks MQTT packet by packet, so that a test sees what a library hides.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
	v byte // protocol version
}

func newClient(t *testing.T, c net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	return &client{t: t, Conn: c, r: bufio.NewReader(c), v: 4}
}

func dial(t *testing.T, address string, cfg *tls.Config) *client {
	t.Helper()
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

// connect sends CONNECT; change may be nil.
func (c *client) connect(id string, clean bool, keepAlive uint16, change func(*packets.Packet)) {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: c.v, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: clean, ClientIdentifier: id, Keepalive: keepAlive,
	}}
	if change != nil {
		change(&pk)
	}
	c.send(pk)
}

func (c *client) subscribe(id uint16, qos byte, filters ...string) {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, ProtocolVersion: c.v, PacketID: id}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: qos})
	}
	c.send(pk)
}

func (c *client) publish(topic string, qos byte, change func(*packets.Packet)) {
	c.t.Helper()
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, ProtocolVersion: c.v,
		TopicName: topic, Payload: []byte("from the device"),
	}
	if qos > 0 {
		pk.PacketID = 77
	}
	if change != nil {
		change(&pk)
	}
	c.send(pk)
}

func (c *client) ack(id uint16) {
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, ProtocolVersion: c.v, PacketID: id})
}

func (c *client) ping() {
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
}

func (c *client) send(pk packets.Packet) {
	c.t.Helper()
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Pingreq:
		err = pk.PingreqEncode(&b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Write(b.Bytes()); err != nil {
		c.t.Fatalf("send packet %d: %v", pk.FixedHeader.Type, err)
	}
}

// recv returns the next packet, or why there is none: io.EOF for a dropped connection, os.ErrDeadlineExceeded for
// silence.
func (c *client) recv(within time.Duration) (packets.Packet, error) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	pk := packets.Packet{ProtocolVersion: c.v}
	first, err := c.r.ReadByte()
	if err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return pk, os.ErrDeadlineExceeded
		}
		return pk, io.EOF
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	if pk.FixedHeader.Remaining, _, err = packets.DecodeLength(c.r); err != nil {
		return pk, err
	}
	body := make([]byte, pk.FixedHeader.Remaining)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return pk, err
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	}
	return pk, err
}

const soon = 5 * time.Second

// want receives a packet of the type, or fails.
func (c *client) want(kind byte) packets.Packet {
	c.t.Helper()
	pk, err := c.recv(soon)
	if err != nil || pk.FixedHeader.Type != kind {
		c.t.Fatalf("received packet %d, %v; want packet %d", pk.FixedHeader.Type, err, kind)
	}
	return pk
}

// wantDrop fails unless the connection ends without another byte.
func (c *client) wantDrop() {
	c.t.Helper()
	if pk, err := c.recv(soon); !errors.Is(err, io.EOF) {
		c.t.Fatalf("received packet %d, %v; want a dropped connection", pk.FixedHeader.Type, err)
	}
}

// session connects, expects CONNACK and reports whether the session was there.
func (c *client) session(id string, clean bool) bool {
	c.t.Helper()
	c.connect(id, clean, 60, nil)
	pk := c.want(packets.Connack)
	if pk.ReasonCode != 0 {
		c.t.Fatalf("CONNACK code %d", pk.ReasonCode)
	}
	return pk.SessionPresent
}

func (c *client) subscribed(qos byte) {
	c.t.Helper()
	c.subscribe(1, qos, notify)
	if pk := c.want(packets.Suback); !bytes.Equal(pk.ReasonCodes, []byte{qos}) {
		c.t.Fatalf("SUBACK codes %v, want %d", pk.ReasonCodes, qos)
	}
}

// eventually waits for what another goroutine does, without guessing how long it takes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(soon); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

// connected reports whether the client id has a connection, and absent whether it has a session without one.
func connected(b *Broker, id string) bool {
	for _, c := range b.Clients() {
		if c.ID == id {
			return c.Connected
		}
	}
	return false
}

// logBuffer collects a log that several goroutines write.
type logBuffer struct{ capture.Buffer }

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
