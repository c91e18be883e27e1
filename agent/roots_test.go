package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/settings"
	"github.com/culvert-iot/culvert/test/capture"
)

// certificate makes a self-signed certificate and its key, as PEM.
func certificate(t *testing.T, name string) (cert, key []byte, parsed *x509.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), parsed
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func trusts(pool *x509.CertPool, c *x509.Certificate) bool {
	_, err := c.Verify(x509.VerifyOptions{Roots: pool})
	return err == nil
}

func TestCertificateFilesAreReadAtEachAttempt(t *testing.T) {
	dir := t.TempDir()
	cfg := &config.Config{MQTT: config.MQTT{
		Broker: settings.Broker{Port: 8883}, CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"),
	}}
	if _, err := BrokerTLS(cfg, nil); err == nil || !strings.Contains(err.Error(), "mqtt.cert_file: ") || !strings.Contains(hint.Line(err), "put the file there") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without files: %v", err)
	}
	for range 2 { // the second pair takes the place of the first
		cert, key, parsed := certificate(t, "device")
		ca, _, root := certificate(t, "root")
		write(t, cfg.MQTT.CertFile, cert)
		write(t, cfg.MQTT.KeyFile, key)
		write(t, cfg.MQTT.CAFile, ca)
		c, err := BrokerTLS(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Certificates[0].Leaf.Equal(parsed) || !trusts(c.RootCAs, root) || len(c.NextProtos) != 0 {
			t.Error("old files are in use")
		}
	}
	cfg.MQTT.Port = 443
	if c, err := BrokerTLS(cfg, nil); err != nil || len(c.NextProtos) != 1 || c.NextProtos[0] != "x-amzn-mqtt-ca" {
		t.Errorf("port 443: %v, %v", c.NextProtos, err)
	}

	_, other, _ := certificate(t, "other")
	write(t, cfg.MQTT.KeyFile, other)
	if _, err := BrokerTLS(cfg, nil); err == nil || !strings.Contains(err.Error(), "do not fit together") {
		t.Errorf("another certificate's key: %v", err)
	}
	cert, key, _ := certificate(t, "device")
	write(t, cfg.MQTT.CertFile, cert)
	write(t, cfg.MQTT.KeyFile, key)
	write(t, cfg.MQTT.CAFile, []byte("hello"))
	if _, err := BrokerTLS(cfg, nil); err == nil || !strings.Contains(err.Error(), "mqtt.ca_file: ") {
		t.Errorf("a CA file without certificate: %v", err)
	}
	cfg.MQTT.CAFile = ""
	if c, err := BrokerTLS(cfg, nil); err != nil || c.RootCAs != nil {
		t.Errorf("without a CA file the system's roots count: %v", err)
	}
}

func TestTunnelRootsAreTheSystemsAndTheFiles(t *testing.T) {
	logs := &capture.Buffer{}
	log := slog.New(slog.NewTextHandler(logs, nil))
	if c := (&tunnelRoots{log: log}).config(); c.RootCAs != nil {
		t.Error("without tunnel.ca_file the system's roots count")
	}

	path := filepath.Join(t.TempDir(), "ca.pem")
	r := &tunnelRoots{file: path, log: log}
	for range 3 {
		if c := r.config(); c.RootCAs != nil {
			t.Error("roots out of nothing")
		}
	}
	if n := strings.Count(logs.String(), "roots of tunnels cannot be read"); n != 1 {
		t.Errorf("%d warnings of a missing file:\n%s", n, logs)
	}
	ca1, _, root1 := certificate(t, "one")
	write(t, path, ca1)
	first := r.config().RootCAs
	if !trusts(first, root1) {
		t.Error("the file's root is not trusted")
	}
	system, err := x509.SystemCertPool()
	if err != nil {
		system = x509.NewCertPool()
	}
	system.AppendCertsFromPEM(ca1)
	if !first.Equal(system) {
		t.Error("the system's roots are missing")
	}
	if r.config().RootCAs != first {
		t.Error("an unchanged file was parsed again")
	}
	ca2, _, root2 := certificate(t, "two")
	write(t, path, ca2)
	if c := r.config(); !trusts(c.RootCAs, root2) || trusts(c.RootCAs, root1) {
		t.Error("a changed file does not count")
	}
	write(t, path, []byte("broken"))
	if c := r.config(); !trusts(c.RootCAs, root2) {
		t.Error("a broken file took the roots away")
	}
}
