package setup

import (
	"archive/tar"
	"bytes"
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
	"io/fs"
	"os"
	"strings"
	"time"
)

// Names of the files in a bundle; culvertd init knows them too.
const (
	ConfigFile      = "culvertd.toml"
	CertificateFile = "device.pem.crt"
	KeyFile         = "private.pem.key"
	RootsFile       = "roots.pem"
	recordFile      = "setup.json"
)

// Device is what goes into the device's configuration beside the thing's name and the account's endpoint.
type Device struct {
	// Services are lines of its [services] table, name and address; none means SSH on port 22.
	Services [][2]string
	// Roots, in PEM form, are trusted in place of the system's at the broker, and beside them at the data endpoint.
	// Empty: the system's.
	Roots []byte
	// DataEndpoint is a wss:// URL; "": the one of each notification's region.
	DataEndpoint string
}

type file struct {
	name string
	mode int64
	data string
}

// files are those of a bundle.
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

// record is what a later call needs to know of a bundle.
type record struct {
	Thing       string `json:"thing"`
	Account     string `json:"account"`
	Region      string `json:"region"`
	Policy      string `json:"policy"`
	Certificate string `json:"certificate"` // ARN
}

// newKey makes a private key and a request to sign it, both PEM.
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

// bundle is one that is being made.
type bundle struct{ out *os.File }

// createBundle makes a file for its owner alone, and never writes into one that is there, or through a link.
func createBundle(path string) (*bundle, error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, &Error{Text: "make the bundle", Err: err}
	}
	return &bundle{out}, nil
}

func (b *bundle) discard() {
	_ = b.out.Close()
	_ = os.Remove(b.out.Name())
}

// write fills the file; it is on the disk when write returns.
func (b *bundle) write(files []file, r record) error {
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
			return &Error{Text: "write the bundle", Err: err}
		}
	}
	if err := errors.Join(w.Close(), b.out.Sync(), b.out.Close()); err != nil {
		return &Error{Text: "write the bundle", Err: err}
	}
	return nil
}

// maxBundle is far more than any bundle has.
const maxBundle = 1 << 20

// readRecord returns nil for a file that is not there.
func readRecord(path string) (*record, error) {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // it says so above
	}
	if err != nil {
		return nil, &Error{Text: "look at the bundle that is there", Err: err}
	}
	defer in.Close()
	foreign := &Error{Text: path + " is there already, and is no bundle of a device", Hint: "name another file with --output"}
	for archive := tar.NewReader(io.LimitReader(in, maxBundle)); ; {
		h, err := archive.Next()
		if err != nil {
			return nil, foreign
		}
		if h.Name != recordFile {
			continue
		}
		data, err := io.ReadAll(archive)
		r := &record{}
		if err != nil || json.NewDecoder(bytes.NewReader(data)).Decode(r) != nil || r.Certificate == "" {
			return nil, foreign
		}
		return r, nil
	}
}
