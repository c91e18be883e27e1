package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// startSource connects an operator's side to the sandbox and waits until the tunnel's services are known.
func startSource(t testing.TB, box *sandbox.Sandbox, token string, form proxy.Form) *proxy.Source {
	t.Helper()
	return startSourceWith(t, box, token, form, nil)
}

// startSourceWith is startSource with connections that may be resumed, if resume is not nil.
func startSourceWith(t testing.TB, box *sandbox.Sandbox, token string, form proxy.Form, resume *proxy.Resumption) *proxy.Source {
	t.Helper()
	source := proxy.NewSource(proxy.SourceConfig{
		Connection: proxy.Connection{
			Endpoint: box.RelayURL, AccessToken: secret.New(token),
			TLS:     &tls.Config{RootCAs: box.CA.Pool(), MinVersion: tls.VersionTLS12},
			NetDial: netdial.FromEnvironment().DialContext,
		},
		Form:   form,
		Resume: resume,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-source.Done()
	})
	select {
	case <-source.Ready():
	case err := <-ended:
		t.Fatalf("the source did not connect: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("the source did not connect within 10 s")
	}
	return source
}

// listen serves a service of the tunnel on a loopback port.
func listen(t testing.TB, source *proxy.Source, service string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = source.Serve(context.Background(), service, l)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-served
	})
	return l.Addr().(*net.TCPAddr).Port
}

// connectTo opens a connection to a service of the tunnel; it ends with the test.
func connectTo(t testing.TB, source *proxy.Source, service string) net.Conn {
	t.Helper()
	local, remote := tcpPair(t)
	if err := source.Open(context.Background(), service, remote); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	return local
}

// answers sends a word to an echo server over the tunnel and reports whether it came back in time.
func answers(source *proxy.Source, service string, limit time.Duration) bool {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return false
	}
	defer l.Close()
	local, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return false
	}
	defer local.Close()
	remote, err := l.Accept()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := source.Open(ctx, service, remote); err != nil {
		_ = remote.Close()
		return false
	}
	_ = local.SetDeadline(time.Now().Add(limit))
	if _, err := local.Write([]byte("hello")); err != nil {
		return false
	}
	var buf [5]byte
	_, err = io.ReadFull(local, buf[:])
	return err == nil && string(buf[:]) == "hello"
}

// exchangeByte sends a byte to an echo server and waits for it.
func exchangeByte(c net.Conn) error { return exchangeByteWithin(c, 5*time.Second) }

func exchangeByteWithin(c net.Conn, limit time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(limit))
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	var b [1]byte
	if _, err := c.Write([]byte{'x'}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b[:])
	return err
}
