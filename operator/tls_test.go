package operator_test

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator"
)

// hungry is a network that drops ClientHellos above 1,400 bytes.
type hungry struct{ net.Listener }

func (h hungry) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &hungryConn{Conn: c}, nil
}

type hungryConn struct {
	net.Conn

	began bool
}

func (c *hungryConn) Read(p []byte) (int, error) {
	if c.began {
		return c.Conn.Read(p)
	}
	c.began = true
	first := make([]byte, 4096)
	n, err := c.Conn.Read(first)
	if n > 1400 {
		_, err = io.Copy(io.Discard, c.Conn)
		return 0, err
	}
	c.Conn = &prefixed{c.Conn, first[:n]}
	if err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

type prefixed struct {
	net.Conn

	first []byte
}

func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func TestTheControlAPIIsReachedWhereLargeClientHellosAreDropped(t *testing.T) {
	alone(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"tunnelSummaries":[]}`)
	}))
	server.Listener = hungry{server.Listener}
	server.StartTLS()
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	write(t, bundle, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	err := list(t, operator.Options{
		Region: "eu-west-1", EndpointURL: server.URL, CABundle: bundle, NoSignRequest: true,
		ConnectTimeout: time.Second, ReadTimeout: 3 * time.Second,
	})
	if err != nil {
		t.Error(err)
	}
}
