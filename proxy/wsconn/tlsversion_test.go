package wsconn

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A service, or an impostor, cannot talk this side into an older TLS.
func TestTLSBefore12IsRefusedAndNotFallenBackTo(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		handshakes := 0
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
		server.TLS = &tls.Config{
			MinVersion: version, MaxVersion: version,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { handshakes++; return nil, nil },
		}
		server.Config.ErrorLog = nil
		server.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		for _, base := range []*tls.Config{{RootCAs: roots}, {RootCAs: roots, MinVersion: tls.VersionTLS10}} {
			_, err := Dial(t.Context(), Config{
				Endpoint: strings.Replace(server.URL, "https", "wss", 1), Mode: "source", AccessToken: plain("AQGA"), TLS: base,
			})
			if err == nil || !strings.Contains(err.Error(), "TLS handshake: ") || !strings.Contains(err.Error(), "protocol version") {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
		}
		server.Close()
		if handshakes != 2 {
			t.Errorf("%s: %d handshakes for two attempts", tls.VersionName(version), handshakes)
		}
	}
}
