package agent

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/netdial"
)

// ownNetwork returns an address of this machine that is not loopback: links from there are never given up.
func ownNetwork(t *testing.T) netip.Addr {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() && p.Addr().Is4() {
			return p.Addr()
		}
	}
	t.Skip("this machine has no address besides loopback's")
	return netip.Addr{}
}

// serveAt handles the connections to a port of host until the test ends.
func serveAt(t *testing.T, host netip.Addr, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(host, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// connectProxy answers one CONNECT and is silent then.
func connectProxy(c net.Conn) {
	in := bufio.NewReader(c)
	if _, err := http.ReadRequest(in); err != nil {
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	_, _ = io.Copy(io.Discard, in)
}

// socksProxy is the same for SOCKS 5 without a password (RFC 1928).
func socksProxy(c net.Conn) {
	in := bufio.NewReader(c)
	skip := func(n byte) byte {
		p := make([]byte, n)
		_, _ = io.ReadFull(in, p)
		return p[n-1]
	}
	skip(skip(2)) // version and number of methods, methods
	_, _ = c.Write([]byte{5, 0})
	skip(4) // version, command, reserved, kind of address: a name
	skip(skip(1) + 2)
	_, _ = c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
	_, _ = io.Copy(io.Discard, in)
}

func TestAConnectionThroughAnyProxyEndsWithItsAddress(t *testing.T) {
	host := ownNetwork(t)
	pair, pool := serverCertificate(t, host, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for scheme, handle := range map[string]func(net.Conn){
		"http":    connectProxy,
		"https":   func(c net.Conn) { connectProxy(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})) },
		"socks5":  socksProxy,
		"socks5h": socksProxy,
	} {
		t.Run(scheme, func(t *testing.T) {
			proxy := &url.URL{Scheme: scheme, Host: serveAt(t, host, handle)}
			var l links
			dial := l.through(&netdial.Dialer{Proxy: func(*url.URL) (*url.URL, error) { return proxy, nil }, RootCAs: pool}, time.Now)
			conn, err := dial(t.Context(), "tcp", "broker.example:8883")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if n := l.drop([]netip.Addr{host}); n != 0 {
				t.Errorf("%d were dropped though the address is still there", n)
			}
			if n := l.drop([]netip.Addr{netip.MustParseAddr("203.0.113.1")}); n != 1 {
				t.Errorf("%d were dropped after the address had gone, want 1", n)
				return
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the connection goes on")
			}
		})
	}
}

func TestTheProxysCertificateIsJudgedByTheFloor(t *testing.T) {
	host := ownNetwork(t)
	now := time.Now()
	pair, pool := serverCertificate(t, host, now.Add(-2*time.Hour), now.Add(-time.Hour))
	proxy := &url.URL{Scheme: "https", Host: serveAt(t, host, func(c net.Conn) {
		connectProxy(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}}))
	})}
	var l links
	d := &netdial.Dialer{Proxy: func(*url.URL) (*url.URL, error) { return proxy, nil }, RootCAs: pool}
	conn, err := l.through(d, func() time.Time { return now.Add(-90 * time.Minute) })(t.Context(), "tcp", "broker.example:8883")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// serverCertificate makes a self-signed certificate of an address, and a pool that trusts it.
func serverCertificate(t *testing.T, host netip.Addr, from, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, IPAddresses: []net.IP{host.AsSlice()},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}, pool
}
