package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/sandbox"
)

func TestMain(m *testing.M) {
	for _, name := range []string{"https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"} {
		_ = os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// bed is a device to be examined: a sandbox for its cloud, its files, and a system of its own below root.
type bed struct {
	*testing.T
	box   *sandbox.Sandbox
	files sandbox.Device
	root  string
	opts  Options
}

// newBed starts a sandbox whose thing is pi-1, with one service, ECHO, that can be reached.
func newBed(t *testing.T) *bed {
	t.Helper()
	dir, err := os.MkdirTemp("", "cv-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	box, err := sandbox.Start(context.Background(), sandbox.Config{Dir: dir, Services: map[string]string{"ECHO": listen(t, drop)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{T: t, box: box, files: files, root: t.TempDir()}
	b.mkdir(files.StateDir)
	b.opts = Options{Root: b.root, Stay: 20 * time.Millisecond}
	return b
}

// edit replaces a text of the configuration.
func (b *bed) edit(old, replacement string) {
	b.Helper()
	text := b.read(b.files.ConfigFile)
	if !strings.Contains(text, old) {
		b.Fatalf("the configuration has no %q:\n%s", old, text)
	}
	b.write(b.files.ConfigFile, strings.Replace(text, old, replacement, 1), 0o644)
}

// set gives a key beneath a table of the configuration a value.
func (b *bed) set(table, key, value string) {
	b.Helper()
	text := b.read(b.files.ConfigFile)
	var out strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "[") {
			inside = strings.TrimSpace(line) == "["+table+"]"
		}
		name, _, _ := strings.Cut(line, "=")
		if inside && strings.TrimSpace(name) == key {
			continue
		}
		out.WriteString(line)
		if inside && strings.HasPrefix(line, "[") {
			out.WriteString(key + " = " + value + "\n")
		}
	}
	b.write(b.files.ConfigFile, out.String(), 0o644)
}

func (b *bed) read(path string) string {
	b.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return string(data)
}

func (b *bed) write(path, text string, mode os.FileMode) {
	b.Helper()
	b.mkdir(filepath.Dir(path))
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) mkdir(path string) {
	b.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		b.Fatal(err)
	}
}

// put writes a file of the system below root.
func (b *bed) put(path, text string) { b.write(filepath.Join(b.root, path), text, 0o644) }

// examine runs a check.
func (b *bed) examine() Report {
	b.Helper()
	cfg, err := config.Load(b.files.ConfigFile)
	if err != nil {
		b.Fatal(err)
	}
	b.opts.Config = cfg
	given := 0
	r := Run(b.Context(), b.opts, func(*Result) { given++ })
	if given != len(r.Checks) {
		b.Errorf("%d results were reported, and %d are in the report", given, len(r.Checks))
	}
	for _, c := range r.Checks {
		if c.Status == Failed && c.Text == "" || c.Status == OK && c.Remedy != "" {
			b.Errorf("a result is not of its form: %+v", c)
		}
	}
	return r
}

// find returns the results of an id.
func find(r Report, id string) []*Result {
	var list []*Result
	for _, c := range r.Checks {
		if c.ID == id {
			list = append(list, c)
		}
	}
	return list
}

func text(r Report) string {
	var b strings.Builder
	for _, c := range r.Checks {
		_ = c.Write(&b)
	}
	return b.String() + r.Summary()
}

// listen serves each connection of a loopback port with do, and returns the address.
func listen(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go do(c)
		}
	}()
	return l.Addr().String()
}

func drop(c net.Conn) { _ = c.Close() }

// hold keeps a connection without a word until the other side ends it.
func hold(c net.Conn) {
	_, _ = c.Read(make([]byte, 1<<16))
	_, _ = c.Read(make([]byte, 1))
	_ = c.Close()
}

// free is an address that nothing listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// authority signs whatever a test wants.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, from, until time.Time) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// leaf makes a certificate and its key; names are a server's, and without any it is a client's.
func (a *authority) leaf(from, until time.Time, names ...string) (cert, key string) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "pi-1"}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// serve answers over TLS with a certificate of the authority.
func (a *authority) serve(do func(net.Conn), from, until time.Time, names ...string) string {
	a.t.Helper()
	cert, key := a.leaf(from, until, names...)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		a.t.Fatal(err)
	}
	return listen(a.t, func(c net.Conn) {
		defer c.Close()
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
		if s.Handshake() == nil {
			do(s)
		}
	})
}

// answers sends a fixed HTTP answer to whatever is asked.
func answers(text string) func(net.Conn) {
	return func(c net.Conn) {
		if n, err := c.Read(make([]byte, 4096)); n > 0 && err == nil {
			_, _ = c.Write([]byte(text))
		}
	}
}

// trust makes tunnels trust the authority, and lead to address.
func (b *bed) tunnel(a *authority, address string) {
	b.write(filepath.Join(b.box.Dir, "tunnel-ca.pem"), a.pem(), 0o644)
	b.set("tunnel", "ca_file", `"tunnel-ca.pem"`)
	b.set("tunnel", "endpoint", `"wss://`+address+`"`)
}
