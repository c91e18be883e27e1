package operator

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/tlsdial"
)

// dialTLS makes t reach servers behind a middlebox that drops large ClientHellos; see package tlsdial. Through a web
// proxy net/http does the handshake by itself.
func (o *Options) dialTLS(t *http.Transport) {
	base := t.TLSClientConfig
	if base == nil {
		base = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	dial := t.DialContext
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if c, r := orDefault(o.ConnectTimeout), orDefault(o.ReadTimeout); c > 0 && r > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c+r)
			defer cancel()
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		cfg := base.Clone()
		cfg.ServerName, cfg.NextProtos = host, []string{"http/1.1"}
		conn, err := tlsdial.Dial(ctx, address, cfg, func(ctx context.Context) (net.Conn, error) {
			return dial(ctx, network, address)
		})
		if err != nil {
			if e, ok := errors.AsType[*tlsdial.DialError](err); ok {
				return nil, e.Err
			}
			return nil, err
		}
		return conn, nil
	}
}

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
