package operator_test

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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

// TestAWSIsReachedWhereLargeClientHellosAreDropped: the control API and the service that credentials come from, directly and
// through a web proxy.
func TestAWSIsReachedWhereLargeClientHellosAreDropped(t *testing.T) {
	const roleAnswer = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>` +
		`<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>` +
		`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
	for name, proxied := range map[string]bool{"directly": false, "through a web proxy": true} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			var hosts []string
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hosts = append(hosts, r.Host)
				if r.Header.Get("X-Amz-Target") == "" {
					_, _ = io.WriteString(w, roleAnswer)
					return
				}
				_, _ = io.WriteString(w, `{"tunnelSummaries":[]}`)
			}))
			server.Listener = hungry{server.Listener}
			server.StartTLS()
			defer server.Close()
			api, sts := server.URL, server.URL
			if proxied { // to names that only the proxy knows, since loopback addresses are reached directly
				api, sts = "https://api.example.com", "https://sts.example.com"
				t.Setenv("NO_PROXY", "")
				t.Setenv("HTTPS_PROXY", connectProxy(t, server.Listener.Addr().String()))
			}
			bundle, token := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "token")
			write(t, bundle, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
			write(t, token, "token")
			write(t, os.Getenv("AWS_CONFIG_FILE"), "[profile p]\nca_bundle = "+bundle+"\nrole_arn = arn:aws:iam::123456789012:role/r\nweb_identity_token_file = "+token+
				"\nrole_session_name = s\nservices = s\n[services s]\nsts =\n  endpoint_url = "+sts+"\n")
			err := list(t, operator.Options{
				Profile: "p", Region: "eu-west-1", EndpointURL: api, ConnectTimeout: time.Second, ReadTimeout: 3 * time.Second,
			})
			if err != nil || len(hosts) != 2 || "https://"+hosts[0] != sts || "https://"+hosts[1] != api {
				t.Errorf("%v; hosts %q", err, hosts)
			}
		})
	}
}

// connectProxy is a web proxy whose every target is address.
func connectProxy(t *testing.T, address string) string {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		far, err := net.Dial("tcp", address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		near, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			_ = far.Close()
			return
		}
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(far, near)
			_ = far.Close()
		}()
		go func() {
			_, _ = io.Copy(near, far)
			_ = near.Close()
		}()
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}
