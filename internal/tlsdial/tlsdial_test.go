package tlsdial

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// network connects to a TLS server behind a middlebox that swallows what limit says.
type network struct {
	t      *testing.T
	server *tls.Config
	roots  *x509.CertPool
	drops  func(size int) bool
	gives  time.Duration // how long the server waits for a ClientHello; 0 sets no limit
	hellos []int         // sizes of the ClientHellos, one for each connection
	wg     sync.WaitGroup
}

func newNetwork(t *testing.T, drops func(int) bool) *network {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"broker.example"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t: t, drops: drops, roots: x509.NewCertPool()}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	n.roots.AddCert(cert)
	n.server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	t.Cleanup(func() { remember("broker.example:8883", false) })
	return n
}

func (n *network) client() *tls.Config {
	return &tls.Config{ServerName: "broker.example", RootCAs: n.roots, MinVersion: tls.VersionTLS12}
}

func (n *network) dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	n.hellos = append(n.hellos, 0)
	n.wg.Go(func() {
		conn := tls.Server(far, n.server)
		if n.gives > 0 {
			_ = far.SetDeadline(time.Now().Add(n.gives))
		}
		_ = conn.Handshake()
		_, _ = io.Copy(io.Discard, conn)
		_ = far.Close()
	})
	return &middlebox{Conn: near, network: n, number: len(n.hellos) - 1}, nil
}

type middlebox struct {
	net.Conn
	network *network
	number  int
}

func (m *middlebox) Write(p []byte) (int, error) {
	if hello := &m.network.hellos[m.number]; *hello == 0 {
		*hello = len(p)
		if m.network.drops(len(p)) {
			return len(p), nil
		}
	}
	return m.Conn.Write(p)
}

func above1400(size int) bool { return size > 1400 }

func TestALargeClientHelloThatIsDroppedIsRepeatedSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, above1400)
		var log bytes.Buffer
		SetLogger(slog.New(slog.NewTextHandler(&log, nil)))
		defer SetLogger(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()

		open := func(want time.Duration) {
			t.Helper()
			began := time.Now()
			conn, err := Dial(ctx, "broker.example:8883", n.client(), n.dial)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			if took := time.Since(began); took != want {
				t.Errorf("connected after %v, want %v", took, want)
			}
		}
		open(patience)
		open(0) // it remembers
		if len(n.hellos) != 3 || n.hellos[0] <= 1400 || n.hellos[1] > 400 || n.hellos[2] > 400 {
			t.Errorf("ClientHellos of %v bytes, want a large one and two small ones", n.hellos)
		}
		if !NeedsSmallHello("broker.example:8883") || NeedsSmallHello("other.example:8883") {
			t.Error("what the host needs is not told")
		}
		if got := strings.Count(log.String(), "without post-quantum key exchange"); got != 1 {
			t.Errorf("%d lines in the log, want 1: %s", got, log.String())
		}

		time.Sleep(remembered)
		n.drops = func(int) bool { return false }
		ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		open(0)
		if last := n.hellos[len(n.hellos)-1]; last <= 1400 {
			t.Errorf("a day later the ClientHello has %d bytes: post-quantum key exchange is not tried again", last)
		}
		n.wg.Wait()
	})
}

// A server that gets no ClientHello ends the connection by itself, possibly before this side loses patience.
func TestAServerThatGivesUpWaitingGetsASmallClientHello(t *testing.T) {
	for _, tt := range []struct {
		name  string
		gives time.Duration
		cut   time.Duration // when this side's network changes
		small bool
	}{
		{"it waited", 5 * time.Second, 0, true},
		{"it refuses at once", time.Millisecond, 0, false},
		{"the connection is cut here", 0, 3 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, above1400)
				n.gives = tt.gives
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				conn, err := Dial(ctx, "broker.example:8883", n.client(), func(ctx context.Context) (net.Conn, error) {
					conn, err := n.dial(ctx)
					if tt.cut > 0 && len(n.hellos) == 1 {
						time.AfterFunc(tt.cut, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
					}
					return conn, err
				})
				if conn != nil {
					_ = conn.Close()
				}
				if got := err == nil; got != tt.small || NeedsSmallHello("broker.example:8883") != tt.small {
					t.Errorf("after ClientHellos of %v bytes: %v; to connect with a small one: %v", n.hellos, err, tt.small)
				}
				n.wg.Wait()
			})
		})
	}
}

func TestAHostThatIsSilentToBothIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(int) bool { return true })
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		began := time.Now()
		_, err := Dial(ctx, "broker.example:8883", n.client(), n.dial)
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(began) != 15*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if len(n.hellos) != 2 || NeedsSmallHello("broker.example:8883") {
			t.Errorf("%d connections, remembered %v", len(n.hellos), NeedsSmallHello("broker.example:8883"))
		}
		n.wg.Wait()
	})
}

func TestWhatASmallHelloCannotCureIsNotTriedTwice(t *testing.T) {
	for name, change := range map[string]func(*network, *tls.Config){
		"another certificate": func(_ *network, c *tls.Config) { c.ServerName = "other.example" },
		"own key exchanges": func(n *network, c *tls.Config) {
			c.CurvePreferences = []tls.CurveID{tls.X25519}
			n.drops = func(int) bool { return true }
		},
		"TLS 1.2": func(n *network, c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			n.drops = func(int) bool { return true }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, func(int) bool { return false })
				config := n.client()
				change(n, config)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				if _, err := Dial(ctx, "broker.example:8883", config, n.dial); err == nil || len(n.hellos) != 1 {
					t.Errorf("%d connections, error %v", len(n.hellos), err)
				}
				n.wg.Wait()
			})
		})
	}
}

func TestADialThatFailsIsTold(t *testing.T) {
	refused := errors.New("refused")
	_, err := Dial(t.Context(), "broker.example:8883", &tls.Config{ServerName: "broker.example"}, func(context.Context) (net.Conn, error) { return nil, refused })
	if dial, ok := errors.AsType[*DialError](err); !ok || !errors.Is(dial, refused) {
		t.Errorf("error = %v", err)
	}
}
