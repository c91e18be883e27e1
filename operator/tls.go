package operator

import (
	"crypto/tls"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// TLSConfig returns the TLS settings of calls made with cfg, for connections to other endpoints of the same owner: the
// authorities of --ca-bundle or AWS_CA_BUNDLE, and whether certificates are verified. Nil means Go's defaults.
func TLSConfig(cfg aws.Config) *tls.Config {
	client := cfg.HTTPClient
	if d, ok := client.(*debugClient); ok {
		client = d.next
	}
	b, ok := client.(interface{ GetTransport() *http.Transport })
	if !ok {
		return nil
	}
	t := b.GetTransport().TLSClientConfig
	if t == nil {
		return nil
	}
	return &tls.Config{
		RootCAs: t.RootCAs, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: t.InsecureSkipVerify, //nolint:gosec // G402: it is what was asked for
	}
}
