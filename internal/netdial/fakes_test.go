package netdial

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"
)

// serve runs handle for each connection to a loopback port and returns its address. The test's end closes
// all of them and waits.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		conns []net.Conn
		wg    sync.WaitGroup
	)
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// asked is what a fake proxy was asked for.
type asked struct {
	mu   sync.Mutex
	last *http.Request
}

func (a *asked) set(r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = r
}

func (a *asked) get() *http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// answering reads one request, hands the connection to answer, and then echoes.
func answering(a *asked, answer func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		a.set(req)
		answer(c)
		echo(c)
	}
}

func say(parts ...string) func(net.Conn) {
	return func(c net.Conn) {
		for _, p := range parts {
			_, _ = io.WriteString(c, p)
		}
	}
}

// hangUp says parts and closes.
func hangUp(parts ...string) func(net.Conn) {
	return func(c net.Conn) {
		say(parts...)(c)
		_ = c.Close()
	}
}

const established = "HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"

// through returns a Dialer that always uses the proxy of this URL, whatever the target.
func through(t *testing.T, proxy string) *Dialer {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	return &Dialer{Proxy: func(*url.URL) (*url.URL, error) { return u, nil }}
}

// certificate makes a self-signed one for names and a pool that trusts it.
func certificate(t *testing.T, notAfter time.Time, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: names,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// echoes checks that conn reaches the echo behind it.
func echoes(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const text = "over the culvert"
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != text {
		t.Fatalf("echo = %q", got)
	}
}
