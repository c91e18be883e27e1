package broker

import (
	"bytes"
	"crypto/tls"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/culvert-iot/culvert/sandbox/pki"
)

func TestTLS(t *testing.T) {
	cfg, ca := newConfig(t)
	cfg.ListenALPN = "127.0.0.1:0"
	b := start(t, cfg)
	good := deviceTLS(t, ca, thing)
	with := func(change func(*tls.Config)) *tls.Config {
		c := good.Clone()
		change(c)
		return c
	}
	stranger, err := pki.New("stranger")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		address string
		cfg     *tls.Config
		good    bool
	}{
		{"8883", b.Addr(), good, true},
		{"8883 does not mind ALPN", b.Addr(), with(func(c *tls.Config) { c.NextProtos = []string{ALPN} }), true},
		{"443 with ALPN", b.ALPNAddr(), with(func(c *tls.Config) { c.NextProtos = []string{ALPN} }), true},
		{"443 without ALPN", b.ALPNAddr(), good, false},
		{"443 with another ALPN", b.ALPNAddr(), with(func(c *tls.Config) { c.NextProtos = []string{"mqtt"} }), false},
		{"no certificate", b.Addr(), with(func(c *tls.Config) { c.Certificates = nil }), false},
		{"a stranger's certificate", b.Addr(), with(func(c *tls.Config) { c.Certificates = deviceTLS(t, stranger, thing).Certificates }), false},
		{"TLS 1.1", b.Addr(), with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tryConnect(t, tt.address, tt.cfg); (err == nil) != tt.good {
				t.Errorf("connect: %v, want good %v", err, tt.good)
			}
		})
	}
}

func TestSNI(t *testing.T) {
	cfg, ca := newConfig(t)
	cfg.RequireSNI = true
	b := start(t, cfg)
	named := deviceTLS(t, ca, thing)
	if err := tryConnect(t, b.Addr(), named); err != nil {
		t.Errorf("with SNI: %v", err)
	}
	unnamed := named.Clone()
	unnamed.ServerName = "127.0.0.1" // an address is never sent
	if err := tryConnect(t, b.Addr(), unnamed); err == nil {
		t.Error("connected without SNI")
	}
}

// tryConnect goes as far as CONNACK: under TLS 1.3 a client learns of a refused certificate only after its handshake.
func tryConnect(t *testing.T, address string, cfg *tls.Config) error {
	t.Helper()
	conn, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		return err
	}
	c := newClient(t, conn)
	var b bytes.Buffer
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: 4, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, ClientIdentifier: thing,
	}}
	if err := pk.ConnectEncode(&b); err != nil {
		return err
	}
	if _, err := c.Write(b.Bytes()); err != nil {
		return err
	}
	_, err = c.recv(soon)
	return err
}
