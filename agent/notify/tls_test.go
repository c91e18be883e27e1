package notify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/settings"
)

// issuer signs certificates for tests, by the bubble's clock.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(-30, 0, 0), NotAfter: time.Now().AddDate(30, 0, 0),
	}
	i.cert, i.key = i.sign(template, nil)
	i.pool.AddCert(i.cert)
	return i
}

func (i *issuer) sign(template *x509.Certificate, by *issuer) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert, key
}

// leaf makes a certificate that is valid in [from, from+valid), relative to now.
func (i *issuer) leaf(serial int64, name string, from, valid time.Duration) tls.Certificate {
	cert, key := i.sign(&x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(from + valid),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, i)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// bufferedPipe is a net.Pipe that takes one write each way before the other end reads, as sockets do: in TLS 1.3 the
// server may send its alert while the client sends its first data.
func bufferedPipe(wg *sync.WaitGroup) (near, far net.Conn) {
	near, a := net.Pipe()
	b, far := net.Pipe()
	pump := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
		_, _ = io.Copy(io.Discard, from)
	}
	wg.Go(func() { pump(a, b) })
	wg.Go(func() { _, _ = io.Copy(b, a); _, _ = io.Copy(io.Discard, a); _ = b.Close() })
	return near, far
}

// startTLS runs a client against a broker that speaks TLS; script may look at the handshake.
func startTLS(t *testing.T, port int, client func() (*tls.Config, error), server *tls.Config, script func(n int, p *peer, state tls.ConnectionState)) *bench {
	t.Helper()
	n := 0
	var peers sync.WaitGroup
	t.Cleanup(peers.Wait)
	return start(t, Config{Broker: settings.Broker{Endpoint: "broker.example", Port: port}, TLS: client, Dial: func(context.Context, string, string) (net.Conn, error) {
		n++
		number := n
		near, far := bufferedPipe(&peers)
		peers.Go(func() {
			defer func() { _ = far.Close() }()
			conn := tls.Server(far, server)
			if err := conn.Handshake(); err != nil {
				return
			}
			script(number, &peer{t: t, conn: conn}, conn.ConnectionState())
			_ = conn.Close()
		})
		return near, nil
	}}, nil, nil)
}

func upForEver(_ int, p *peer, _ tls.ConnectionState) {
	p.accept()
	p.idle()
}

func TestReplacedCertificateFilesCountFromTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newIssuer(t)
		serial := int64(1)
		var seen []int64
		shared := &tls.Config{RootCAs: ca.pool, NextProtos: []string{"http/1.1"}, ServerName: "wrong.example"}
		startTLS(t, 8883, func() (*tls.Config, error) {
			serial++
			shared.Certificates = []tls.Certificate{ca.leaf(serial, testThing, -day, year)}
			return shared, nil
		}, &tls.Config{
			Certificates: []tls.Certificate{ca.leaf(1, "broker.example", -day, year)},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
		}, func(_ int, p *peer, state tls.ConnectionState) {
			seen = append(seen, state.PeerCertificates[0].SerialNumber.Int64())
			p.accept()
			p.idleFor(time.Minute)
		})
		pass(200 * time.Second)
		if diff := cmp.Diff([]int64{2, 3, 4, 5}, seen); diff != "" {
			t.Errorf("certificates (-want +got):\n%s", diff)
		}
		if shared.ServerName != "wrong.example" || shared.NextProtos[0] != "http/1.1" {
			t.Error("the caller's configuration was changed")
		}
	})
}

func TestServerNameALPNAndVersionOfTLS(t *testing.T) {
	for _, c := range []struct {
		name string
		port int
		alpn []string
	}{
		{"8883 has no ALPN", 8883, nil},
		{"443 has the protocol name of AWS", 443, []string{"x-amzn-mqtt-ca"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newIssuer(t)
				var hello *tls.ClientHelloInfo
				server := &tls.Config{
					Certificates: []tls.Certificate{ca.leaf(1, "broker.example", -day, year)},
					GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
						hello = h
						return nil, nil
					},
				}
				b := startTLS(t, c.port, func() (*tls.Config, error) {
					return &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS10, NextProtos: c.alpn}, nil
				}, server, upForEver)
				<-b.client.Ready()
				if hello.ServerName != "broker.example" {
					t.Errorf("server name %q", hello.ServerName)
				}
				if diff := cmp.Diff(c.alpn, hello.SupportedProtos); diff != "" {
					t.Errorf("ALPN (-want +got):\n%s", diff)
				}
				for _, v := range hello.SupportedVersions {
					if v < tls.VersionTLS12 {
						t.Errorf("TLS version %x is offered", v)
					}
				}
			})
		})
	}
}

func TestWhyTLSFails(t *testing.T) {
	for _, c := range []struct {
		name string
		// serve returns the server's configuration and the client's certificates.
		serve func(ca *issuer) (*tls.Config, []tls.Certificate)
		max   uint16 // TLS version of the client; 0 = any
		port  int    // 0 = 8883
		want  []string
	}{
		{"an authority that is not trusted", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return &tls.Config{Certificates: []tls.Certificate{newIssuer(ca.t).leaf(1, "broker.example", -day, year)}}, nil
		}, 0, 0, []string{"TLS handshake", "mqtt.ca_file"}},
		{"an expired certificate", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return &tls.Config{Certificates: []tls.Certificate{ca.leaf(1, "broker.example", -year, day)}}, nil
		}, 0, 0, []string{"has expired", "clock is fast"}},
		{"a certificate of the future", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return &tls.Config{Certificates: []tls.Certificate{ca.leaf(1, "broker.example", day, year)}}, nil
		}, 0, 0, []string{"not valid yet", "clock is slow"}},
		{"another name", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return &tls.Config{Certificates: []tls.Certificate{ca.leaf(1, "other.example", -day, year)}}, nil
		}, 0, 0, []string{"for another name", "mqtt.endpoint"}},
		{"no client certificate, TLS 1.3: refused after the handshake", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return wantsCertificate(ca, ca.pool), nil
		}, 0, 0, []string{"after CONNECT", "did not accept the device's certificate", "active"}},
		{"no client certificate, TLS 1.2: refused in the handshake", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return wantsCertificate(ca, ca.pool), nil
		}, tls.VersionTLS12, 0, []string{"TLS handshake", "did not accept the device's certificate"}},
		{"a client certificate of another account", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return wantsCertificate(ca, newIssuer(ca.t).pool), []tls.Certificate{ca.leaf(2, testThing, -day, year)}
		}, 0, 0, []string{"did not accept the device's certificate", "mqtt.cert_file"}},
		{"a client certificate that expired", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return wantsCertificate(ca, ca.pool), []tls.Certificate{ca.leaf(2, testThing, -year, day)}
		}, 0, 0, []string{"device's own certificate (mqtt.cert_file) expired on 1999-01-02"}},
		{"a client certificate that is not valid yet", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return wantsCertificate(ca, ca.pool), []tls.Certificate{ca.leaf(2, testThing, day, year)}
		}, 0, 0, []string{"device's own certificate (mqtt.cert_file) is valid only from 2000-01-02", "NTP"}},
		{"no MQTT by ALPN", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return &tls.Config{Certificates: []tls.Certificate{ca.leaf(1, "broker.example", -day, year)}, NextProtos: []string{"h2"}}, nil
		}, 0, 443, []string{"ALPN", "port"}},
		{"a TLS version that is not offered", func(ca *issuer) (*tls.Config, []tls.Certificate) {
			return &tls.Config{Certificates: []tls.Certificate{ca.leaf(1, "broker.example", -day, year)}, MinVersion: tls.VersionTLS13}, nil
		}, tls.VersionTLS12, 0, []string{"another version of TLS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newIssuer(t)
				server, own := c.serve(ca)
				port := c.port
				var alpn []string
				switch port {
				case 0:
					port = 8883
				case 443:
					alpn = []string{"x-amzn-mqtt-ca"}
				}
				b := startTLS(t, port, func() (*tls.Config, error) {
					return &tls.Config{RootCAs: ca.pool, Certificates: own, MaxVersion: c.max, NextProtos: alpn}, nil
				}, server, upForEver)
				pass(200 * time.Millisecond)
				b.wants(c.want...)
				pass(3 * time.Minute)
				if n := len(b.log.lines("level=WARN")); n != 1 {
					t.Errorf("%d warnings in 3 minutes:\n%s", n, b.log.lines("level=WARN"))
				}
			})
		})
	}
}

func wantsCertificate(server *issuer, clients *x509.CertPool) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{server.leaf(1, "broker.example", -day, year)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}
}

func TestWhatIsNoTLSServer(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(p *peer)
		wait   time.Duration
		want   []string
	}{
		{"it speaks something else", func(p *peer) {
			var hello [512]byte
			_, _ = p.conn.Read(hello[:])
			go func() { _, _ = io.Copy(io.Discard, p.conn) }()
			p.raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")...)
		}, time.Second, []string{"does not speak TLS"}},
		{"it closes", func(*peer) {}, time.Second, []string{"closed without a reason", "mqtt.endpoint"}},
		{"it is silent", func(p *peer) { _, _ = io.Copy(io.Discard, p.conn) }, dialLimit + time.Second, []string{"no answer in TLS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, Config{TLS: func() (*tls.Config, error) { return &tls.Config{}, nil }}, func(_ int, p *peer) { c.script(p) }, nil)
				pass(c.wait)
				b.wants(append(c.want, "TLS handshake with broker.example:8883")...)
			})
		})
	}
}
