package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/settings"
	"github.com/culvert-iot/culvert/services"
)

// pair makes a certificate of its own issue, long expired, with its key.
func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "t"}, NotAfter: time.Unix(0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})
}

func write(t *testing.T, path string, data []byte, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask has had its say
		t.Fatal(err)
	}
	return path
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t)
	_, otherKey := pair(t)
	block, _ := pem.Decode(cert)
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("cert"), cert, 0o644)
	write(t, at("key"), key, 0o600)
	write(t, at("chain"), append(append([]byte("subject=CN = t\n"), cert...), cert...), 0o644)
	write(t, at("both"), append(append([]byte{}, cert...), key...), 0o600)
	write(t, at("other"), otherKey, 0o600)
	write(t, at("empty"), []byte(" \n"), 0o600)
	write(t, at("der"), block.Bytes, 0o600)
	write(t, at("words"), []byte("not a certificate"), 0o600)
	write(t, at("locked"), pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), 0o600)
	write(t, at("locked1"), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("x"), Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}}), 0o600)
	write(t, at("garbled"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), 0o600)

	tests := []struct {
		name               string
		ca, ca2, cert, key string
		want               string // DIR/ stands for the directory; "" is no error
	}{
		{"a pair, though expired", "", "", "cert", "key", ""},
		{"a pair with roots and a chain with text between", "cert", "chain", "chain", "key", ""},
		{"certificate and key in one file", "", "", "both", "both", ""},
		{"a missing certificate", "", "", "none", "key", "mqtt.cert_file: open DIR/none: no such file or directory; put the file there, or correct the path"},
		{"two that are missing", "none", "", "cert", "none", "mqtt.ca_file: open DIR/none: no such file or directory; put the file there, or correct the path\nmqtt.key_file: open DIR/none: no such file or directory; put the file there, or correct the path"},
		{"a directory", "", ".", "cert", "key", "tunnel.ca_file: DIR is a directory; name the file in it"},
		{"files that were mixed up", "", "", "key", "cert", "mqtt.cert_file: DIR/key has a private key where a certificate is expected; check whether files were mixed up\nmqtt.key_file: DIR/cert has a certificate where a private key is expected; check whether files were mixed up"},
		{"a key of another certificate", "", "", "cert", "other", "mqtt.cert_file, mqtt.key_file: DIR/cert and DIR/other do not fit together: tls: private key does not match public key; use the key that was made with this certificate"},
		{"an empty file", "", "", "empty", "key", "mqtt.cert_file: DIR/empty is empty; copy the file again"},
		{"DER instead of PEM", "", "", "der", "key", "mqtt.cert_file: DIR/der is in DER form, a certificate in PEM form is expected; convert it with openssl"},
		{"a text", "", "", "cert", "words", "mqtt.key_file: DIR/words has no private key in PEM form, which begins with -----BEGIN; copy the file again"},
		{"a key with a pass phrase", "", "", "cert", "locked", "mqtt.key_file: the key in DIR/locked has a pass phrase, which cannot be typed at a device; remove it with openssl pkey"},
		{"a key with a pass phrase in the old form", "", "", "cert", "locked1", "mqtt.key_file: the key in DIR/locked1 has a pass phrase, which cannot be typed at a device; remove it with openssl pkey"},
		{"roots that are garbled", "garbled", "", "cert", "key", "mqtt.ca_file: DIR/garbled: no certificate in it can be read; fetch the file again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &Config{MQTT: MQTT{CertFile: at(tt.cert), KeyFile: at(tt.key)}}
			if tt.ca != "" {
				c.MQTT.CAFile = at(tt.ca)
			}
			if tt.ca2 != "" {
				c.Tunnel.CAFile = at(tt.ca2)
			}
			got := ""
			if err := c.CheckFiles(); err != nil {
				var lines []string
				for _, problem := range err.(interface{ Unwrap() []error }).Unwrap() {
					lines = append(lines, hint.Line(problem))
				}
				got = strings.ReplaceAll(strings.Join(lines, "\n"), dir, "DIR")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// openFile makes a program that every user can change.
func openFile(c *Config, name string) string {
	path := filepath.Join(filepath.Dir(c.Path), name)
	_ = os.WriteFile(path, nil, 0o600)
	_ = os.Chmod(path, 0o777)
	return path
}

func TestWarnings(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes mean nothing")
	}
	ssh := []services.Service{{Name: "SSH"}}
	tests := []struct {
		name       string
		file, key  os.FileMode
		change     func(*Config)
		want       []string
		wantNoFile bool
	}{
		{"nothing to warn of", 0o644, 0o600, nil, nil, false},
		{"a key for root's group to read", 0o640, 0o440, nil, nil, false},
		{"a key for all to read", 0o644, 0o644, nil, []string{"mqtt.key_file: every user of this machine can read or change DIR/key; chmod 600 DIR/key"}, false},
		{"a key for the group to change", 0o644, 0o660, nil, []string{"mqtt.key_file: the group can change DIR/key; chmod 600 DIR/key"}, false},
		{"a configuration for all to change", 0o666, 0o600, nil, []string{"DIR/c.toml: every user of this machine can change it, and so choose what tunnels reach; chmod 644 DIR/c.toml"}, false},
		{
			"roots for all to change", 0o644, 0o600,
			func(c *Config) { c.Tunnel.CAFile = openFile(c, "ca") },
			[]string{"tunnel.ca_file: every user of this machine can change DIR/ca, and so choose whom the device trusts; chmod 644 DIR/ca"},
			false,
		},
		{
			"a hook for all to change", 0o644, 0o600,
			func(c *Config) { c.Hooks.Command = []string{openFile(c, "hook")} },
			[]string{"hooks.command will not be run: every user of this machine can change DIR/hook; chmod o-w DIR/hook"},
			false,
		},
		{
			"a hook that is not there", 0o644, 0o600,
			func(c *Config) { c.Hooks.Command = []string{filepath.Join(filepath.Dir(c.Path), "hook")} },
			[]string{"hooks.command will not be run: there is no DIR/hook; put the command there, or correct its path"},
			false,
		},
		{
			"a key in a directory for all to change", 0o644, 0o600,
			func(c *Config) {
				dir := filepath.Join(filepath.Dir(c.Path), "open")
				c.MQTT.KeyFile = filepath.Join(dir, "key")
				_ = os.Mkdir(dir, 0o700)
				_ = os.WriteFile(c.MQTT.KeyFile, nil, 0o600)
				_ = os.Chmod(dir, 0o777)
			},
			[]string{"mqtt.key_file: every user of this machine can replace what is in DIR/open; chmod o-w DIR/open"},
			false,
		},
		{
			"a configuration in a directory for all to change", 0o644, 0o600,
			func(c *Config) {
				dir := filepath.Join(filepath.Dir(c.Path), "open")
				c.Path = filepath.Join(dir, "c.toml")
				_ = os.Mkdir(dir, 0o700)
				_ = os.WriteFile(c.Path, nil, 0o600)
				_ = os.Chmod(dir, 0o777)
			},
			[]string{"the configuration, and so what tunnels reach, is not this user's alone: every user of this machine can replace what is in DIR/open; chmod o-w DIR/open"},
			false,
		},
		{
			"the thing's name as client id", 0o644, 0o600,
			func(c *Config) { c.MQTT.ClientID = "t" },
			[]string{`mqtt.client_id is the thing's name: if the device's own MQTT client uses it too, the two keep disconnecting each other; leave client_id out to get "t-tunnel"`},
			false,
		},
		{
			"an endpoint of the old kind", 0o644, 0o600,
			func(c *Config) { c.MQTT.Endpoint = "a1b2.iot.eu-west-1.amazonaws.com" },
			[]string{"mqtt.endpoint: a1b2.iot.eu-west-1.amazonaws.com is an endpoint of the old kind, whose certificate current root files do not know; use the one printed by " + endpointHint},
			false,
		},
		{"endpoints of the new kind", 0o644, 0o600, func(c *Config) { c.MQTT.Endpoint = "a1b2-ats.iot.eu-west-1.amazonaws.com" }, nil, false},
		{
			"an endpoint without a dot", 0o644, 0o600,
			func(c *Config) { c.MQTT.Endpoint = "a1b2-ats" },
			[]string{"mqtt.endpoint: a1b2-ats has no dot, so it is not an AWS IoT endpoint; use the one printed by " + endpointHint},
			false,
		},
		{"no endpoint, without MQTT", 0o644, 0o600, func(c *Config) { c.MQTT = MQTT{Disabled: true, KeyFile: c.MQTT.KeyFile} }, nil, false},
		{"a broker on this machine", 0o644, 0o600, func(c *Config) { c.MQTT.Endpoint = "localhost" }, nil, false},
		{"a broker with an IPv6 address", 0o644, 0o600, func(c *Config) { c.MQTT.Endpoint = "2001:db8::1" }, nil, false},
		{
			"mistyped regions", 0o644, 0o600,
			func(c *Config) {
				c.Tunnel.Regions = []string{"eu-wst-1", "eu-west", "euwest1", "eu-west-", "eu-west-1", "ap-southeast-12", "us-gov-east-1", "cn-north-1", "eusc-de-east-1", "mx-central-1"}
			},
			[]string{
				`tunnel.regions: "eu-wst-1" does not look like a region, such as eu-west-1; ` + regionAdvice,
				`tunnel.regions: "eu-west" does not look like a region, such as eu-west-1; ` + regionAdvice,
				`tunnel.regions: "euwest1" does not look like a region, such as eu-west-1; ` + regionAdvice,
				`tunnel.regions: "eu-west-" does not look like a region, such as eu-west-1; ` + regionAdvice,
			},
			false,
		},
		{"no services", 0o644, 0o600, func(c *Config) { c.Services = nil }, []string{"services: none is configured, so every connection will be refused; write [services] and beneath it SSH = 22"}, false},
		{"no service that is enabled", 0o644, 0o600, func(c *Config) { c.Services = []services.Service{{Name: "a", Disabled: true}} }, []string{"services: all are disabled, so every connection will be refused"}, false},
		{"files that are not there", 0o644, 0o644, nil, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c := &Config{
				ThingName: "t", Services: ssh, Path: filepath.Join(dir, "c.toml"),
				MQTT: MQTT{Broker: settings.Broker{Endpoint: "h.example", ClientID: "t-tunnel"}, KeyFile: filepath.Join(dir, "key")},
			}
			if !tt.wantNoFile {
				write(t, c.Path, nil, tt.file)
				write(t, c.MQTT.KeyFile, nil, tt.key)
			}
			if tt.change != nil {
				tt.change(c)
			}
			var got []string
			for _, w := range c.Warnings() {
				got = append(got, strings.ReplaceAll(hint.Line(w), dir, "DIR"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAnyFormOfAKeyFits: what openssl, AWS IoT and others write.
func TestAnyFormOfAKeyFits(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkcs8 := func(key crypto.Signer) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return block("PRIVATE KEY", der, err)
	}
	ec, err := x509.MarshalECPrivateKey(ecKey)
	sec1 := block("EC PRIVATE KEY", ec, err)
	for _, tt := range []struct {
		name, pem string
		key       crypto.Signer
	}{
		{"PKCS#1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), rsaKey},
		{"PKCS#8 of RSA", pkcs8(rsaKey), rsaKey},
		{"SEC 1", sec1, ecKey},
		{"SEC 1 behind its parameters, as openssl ecparam writes it", block("EC PARAMETERS", []byte{6, 5, 0x2b, 0x81, 4, 0, 0x22}, nil) + sec1, ecKey},
		{"PKCS#8 of ECDSA", pkcs8(ecKey), ecKey},
		{"PKCS#8 of Ed25519", pkcs8(edKey), edKey},
		{"with text before it and other line ends", strings.ReplaceAll("Bag Attributes\n  friendlyName: pi\n"+pkcs8(rsaKey), "\n", "\r\n"), rsaKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "t"}, NotAfter: time.Unix(0, 0)}
			der, err := x509.CreateCertificate(rand.Reader, c, c, tt.key.Public(), tt.key)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			m := MQTT{CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
			write(t, m.CertFile, []byte(block("CERTIFICATE", der, nil)), 0o644)
			write(t, m.KeyFile, []byte(tt.pem), 0o600)
			if err := (&Config{MQTT: m}).CheckFiles(); err != nil {
				t.Error(err)
			}
		})
	}
}
