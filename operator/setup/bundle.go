package setup

import (
	"archive/tar"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Names of the files in a bundle. culvertd init knows them too.
const (
	ConfigFile      = "culvertd.toml"
	CertificateFile = "device.pem.crt"
	KeyFile         = "private.pem.key"
	RootsFile       = "roots.pem"
	recordFile      = "setup.json"
)

// Device is the part of the device's configuration that does not come from AWS.
type Device struct {
	// Services are the lines of its [services] table, name and address. None means SSH on port 22.
	Services [][2]string
	// Roots are PEM certificates that the device trusts: instead of the system's at the broker, besides the system's at
	// the data endpoint. Empty means the system's only.
	Roots []byte
	// DataEndpoint is a wss:// URL. "" means the endpoint of each notification's region.
	DataEndpoint string
}

type file struct {
	name string
	mode int64
	data string
}

// answerPings is a line that earlier bundles do not have.
const answerPings = "answer_pings = true\n"

// files are the files of a bundle.
func (d Device) files(thing, endpoint, certificate, key string) []file {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by culvert setup-thing. culvertd.toml(5) explains every key.")
	line("\nthing_name = %q", thing)
	line("\n[mqtt]\nendpoint  = %q", endpoint)
	if len(d.Roots) > 0 {
		line("ca_file   = %q", RootsFile)
	}
	line("cert_file = %q\nkey_file  = %q", CertificateFile, KeyFile)
	b.WriteString(answerPings)
	if len(d.Roots) > 0 || d.DataEndpoint != "" {
		line("\n[tunnel]")
	}
	if d.DataEndpoint != "" {
		line("endpoint = %q", d.DataEndpoint)
	}
	if len(d.Roots) > 0 {
		line("ca_file = %q", RootsFile)
	}
	line("\n[services]")
	services := d.Services
	if len(services) == 0 {
		services = [][2]string{{"SSH", "22"}}
	}
	for _, s := range services {
		address := fmt.Sprintf("%q", s[1])
		if strings.Trim(s[1], "0123456789") == "" {
			address = s[1] // a port of this device
		}
		line("%q = %s", s[0], address)
	}
	list := []file{{ConfigFile, 0o640, b.String()}, {CertificateFile, 0o640, certificate}, {KeyFile, 0o600, key}}
	if len(d.Roots) > 0 {
		list = append(list, file{RootsFile, 0o644, string(d.Roots)})
	}
	return list
}

// record is what a later call needs to know about a bundle.
type record struct {
	Thing       string `json:"thing"`
	Account     string `json:"account"`
	Region      string `json:"region"`
	Policy      string `json:"policy"`
	Certificate string `json:"certificate"` // ARN
}

// newKey makes a private key and a request to sign it, both in PEM form.
func newKey(thing string) (key, request string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	name := pkix.Name{CommonName: thing[:min(len(thing), 64)]} // RFC 5280, ub-common-name
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: name}, k)
	if err != nil {
		return "", "", fmt.Errorf("make a signing request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), nil
}

// newBundle is a bundle being made.
type newBundle struct {
	out      *os.File
	complete bool
}

// createBundle makes a file that only its owner can read. It never writes into an existing file, or through a link.
func createBundle(path string) (*newBundle, error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the bundle: %w", err)
	}
	return &newBundle{out: out}, nil
}

// discard removes an incomplete bundle.
func (b *newBundle) discard() {
	if !b.complete {
		_ = b.out.Close()
		_ = os.Remove(b.out.Name())
	}
}

// write fills the file and syncs it to disk.
func (b *newBundle) write(files []file, r record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	w := tar.NewWriter(b.out)
	for _, f := range append(files, file{recordFile, 0o644, string(data) + "\n"}) {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: time.Now().Truncate(time.Second), Format: tar.FormatUSTAR}
		if err = w.WriteHeader(h); err == nil {
			_, err = io.WriteString(w, f.data)
		}
		if err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
	}
	if err := errors.Join(w.Close(), b.out.Sync(), b.out.Close()); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	b.complete = true
	return nil
}
