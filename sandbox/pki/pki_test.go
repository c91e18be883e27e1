package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := New("test root")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestServerCertificateNames(t *testing.T) {
	a := newAuthority(t)
	pair, err := a.Server("sandbox.test", "10.1.2.3", "")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{
		"127.0.0.1": true, "::1": true, "localhost": true, "sandbox.test": true, "10.1.2.3": true,
		"10.1.2.4": false, "other.test": false,
	} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: hostForVerify(name)})
		if (err == nil) != good {
			t.Errorf("verify as %s: %v, want good %v", name, err, good)
		}
	}
}

func hostForVerify(name string) string {
	if net.ParseIP(name) != nil {
		return "[" + name + "]"
	}
	return name
}

func TestCertificatesOfAnotherTime(t *testing.T) {
	a := newAuthority(t)
	from := time.Now().Add(time.Hour).Truncate(time.Second)
	pair, err := a.Between(from, from.Add(time.Minute)).Server()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for offset, good := range map[time.Duration]bool{-time.Second: false, 0: true, time.Minute: true, 61 * time.Second: false} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: from.Add(offset)})
		if (err == nil) != good {
			t.Errorf("%v after its begin: %v", offset, err)
		}
	}
}

func TestDeviceIsItsThing(t *testing.T) {
	a := newAuthority(t)
	d, err := a.Device("plant:pi_1-b")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := d.TLS()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Thing(cert); err != nil || got != "plant:pi_1-b" {
		t.Errorf("Thing = %q, %v", got, err)
	}
	client := x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := cert.Verify(client); err != nil {
		t.Errorf("as a client's: %v", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: a.Pool()}); err == nil {
		t.Error("a device certificate passes as a server's")
	}
	client.Roots = newAuthority(t).Pool()
	if _, err := cert.Verify(client); err == nil {
		t.Error("a device certificate passes under another root")
	}
	server, err := a.Server()
	if err != nil {
		t.Fatal(err)
	}
	serverCert, err := x509.ParseCertificate(server.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	client.Roots = a.Pool()
	if _, err := serverCert.Verify(client); err == nil {
		t.Error("a server certificate passes as a device's")
	}
}

func TestThingNamesThatAreRefused(t *testing.T) {
	a := newAuthority(t)
	for _, name := range []string{"", "a b", "../ca", "a/b", "käse", "a+b", strings.Repeat("a", 129)} {
		if _, err := a.Device(name); err == nil {
			t.Errorf("thing %q got a certificate", name)
		}
		if _, err := a.OpenDevice(t.TempDir(), name); err == nil {
			t.Errorf("thing %q got files", name)
		}
	}
	if _, err := a.Device(strings.Repeat("a", 128)); err != nil {
		t.Errorf("128 characters: %v", err)
	}
	if _, err := Thing(nil); err == nil {
		t.Error("no certificate is a thing")
	}
}

func TestOpenKeepsAuthorityAndDevices(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir, "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.OpenDevice(dir, "ca"); err != nil { // touches no file of the authority
		t.Fatal(err)
	}
	device, err := first.OpenDevice(dir, "pi:1")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(dir, "root")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.PEM(), second.PEM()) {
		t.Error("the second run has another root")
	}
	again, err := second.OpenDevice(dir, "pi:1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(device, again); diff != "" {
		t.Errorf("the second run has another device certificate:\n%s", diff)
	}
	got := map[string]os.FileMode{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = info.Mode()
	}
	want := map[string]os.FileMode{"ca.pem": 0o644, "ca-key.pem": 0o600, "ca.pem.crt": 0o644, "ca.pem.key": 0o600, "pi%3A1.pem.crt": 0o644, "pi%3A1.pem.key": 0o600}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestOpenDeviceReplacesWhatTheRootDidNotSign(t *testing.T) {
	dir := t.TempDir()
	if _, err := newAuthority(t).OpenDevice(dir, "pi-1"); err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t)
	d, err := a.OpenDevice(dir, "pi-1")
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := DeviceFiles(dir, "pi-1")
	if err := a.verify(certFile, keyFile, "pi-1"); err != nil {
		t.Errorf("files after the change of root: %v", err)
	}
	if onDisk, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil || !bytes.Equal(onDisk.Certificate[0], pemDER(t, d.CertPEM)) {
		t.Errorf("the files are not the device's: %v", err)
	}
}

func TestOpenNeverOverwritesARoot(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, dir string)
	}{
		{"key missing", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, CAKeyFile)); err != nil {
				t.Fatal(err)
			}
		}},
		{"certificate of another key", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, CAFile), newAuthority(t).PEM(), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"garbage", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, CAFile), []byte("no PEM"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Open(dir, "root"); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, dir)
			before, err := os.ReadFile(filepath.Join(dir, CAFile))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, "root"); err == nil || !strings.Contains(err.Error(), "remove") {
				t.Errorf("Open: %v, want an error that says what to remove", err)
			}
			after, err := os.ReadFile(filepath.Join(dir, CAFile))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the root was overwritten (%v)", err)
			}
		})
	}
}

func pemDER(t *testing.T, b []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

func TestServerFiles(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t)
	certFile, keyFile, err := a.ServerFiles(dir, "mqtt.test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: "mqtt.test"}); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
}
