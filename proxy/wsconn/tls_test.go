package wsconn

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
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// realService is a websocket server over TCP and TLS that plays one connection.
func realService(t *testing.T, play func(*websocket.Conn)) Config {
	t.Helper()
	upgrader := websocket.Upgrader{Subprotocols: []string{SubprotocolV2}}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, http.Header{"channel-id": {"channel-2"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = ws.Close() }()
		play(ws)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	cfg := testConfig(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
	})
	cfg.Endpoint = "wss://example.com" // a name of httptest's certificate
	cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, NextProtos: []string{"x-amzn-mqtt-ca"}}
	return cfg
}

func TestEverythingOverTLS(t *testing.T) {
	const size = 8 << 20
	up, down := make([]byte, size), make([]byte, size)
	_, _ = rand.Read(up)
	_, _ = rand.Read(down)
	got := make(chan []byte, 1)
	cfg := realService(t, func(ws *websocket.Conn) {
		var wg sync.WaitGroup
		wg.Go(func() {
			for rest, n := down, 1; len(rest) > 0; n = n%MaxMessage + 1 + n/3 {
				n = min(n, len(rest), MaxMessage)
				if err := ws.WriteMessage(websocket.BinaryMessage, rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		})
		var all bytes.Buffer
		for all.Len() < size {
			_, r, err := ws.NextReader()
			if err != nil {
				t.Error(err)
				break
			}
			_, _ = io.Copy(&all, r)
		}
		got <- all.Bytes()
		wg.Wait()
		_ = ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1001, "over"))
		_, _, _ = ws.ReadMessage()
	})
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(1000, "") }()
	if c.Subprotocol() != SubprotocolV2 || c.ChannelID() != "channel-2" {
		t.Errorf("Subprotocol %q, ChannelID %q", c.Subprotocol(), c.ChannelID())
	}
	if cfg.TLS.NextProtos[0] != "x-amzn-mqtt-ca" || cfg.TLS.ServerName != "" {
		t.Error("the caller's TLS configuration was changed")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for rest := up; len(rest) > 0; {
			n := min(64_512, len(rest))
			if err := c.WriteBuffers(rest[:n/2], rest[n/2:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
	})
	received := make([]byte, size)
	if _, err := io.ReadFull(c, received); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if !bytes.Equal(received, down) {
		t.Error("what came down differs from what was sent")
	}
	if !bytes.Equal(<-got, up) {
		t.Error("what went up differs from what was sent")
	}
	var closed *CloseError
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &closed) || closed.Code != 1001 || closed.Reason != "over" {
		t.Errorf("Read = %v", err)
	}
}

func TestABareEndOfTCPUnderTLS(t *testing.T) {
	cfg := realService(t, func(ws *websocket.Conn) {
		under := ws.NetConn().(*tls.Conn).NetConn()
		_ = under.Close() // no close frame, no TLS alert
	})
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(1000, "") }()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read = %v", err)
	}
}

func TestAForeignCertificateIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"unknown authority": {func(c *Config) { c.TLS = nil }, "certificate signed by unknown authority"},
		"other name":        {func(c *Config) { c.Endpoint = "wss://other.test" }, "not other.test"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := realService(t, func(*websocket.Conn) { t.Error("connected all the same") })
			tt.change(&cfg)
			_, err := Dial(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "TLS handshake: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestACertificatesNamesDoNotReachTheTerminalRaw(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"x\x1b]0;owned\x07.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			conn := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
			_ = conn.Handshake()
			_ = far.Close()
		}()
		return near, nil
	})
	cfg.Endpoint = "wss://example.com"
	_, err = Dial(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "owned") || strings.ContainsAny(err.Error(), "\x1b\x07") {
		t.Errorf("error = %q", err)
	}
}

func TestAnEndpointThatCannotBeReached(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	cfg := testConfig(func(context.Context, string, string) (net.Conn, error) { return nil, refused })
	for _, endpoint := range []string{"wss://example.com", "ws://example.com"} {
		cfg.Endpoint = endpoint
		if _, err := Dial(t.Context(), cfg); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: error = %v", endpoint, err)
		}
	}
}
