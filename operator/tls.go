package operator

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/tlsdial"
)

// dialTLS makes t reach servers behind a middlebox that drops large ClientHellos; see package tlsdial. It also sees to web
// proxies, through which net/http would do the handshake by itself. verify says how certificates are judged; it is called
// with each connection, and may return nil.
func (o *Options) dialTLS(t *http.Transport, verify func() *tls.Config) {
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
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if v := verify(); v != nil {
			cfg = v.Clone()
		}
		cfg.ServerName, cfg.NextProtos = host, []string{"http/1.1"}
		way := netdial.FromEnvironment()
		way.Dial, way.RootCAs = dial, cfg.RootCAs
		conn, err := tlsdial.Dial(ctx, address, cfg, func(ctx context.Context) (net.Conn, error) {
			return way.DialContext(ctx, network, address)
		})
		if err != nil {
			if e, ok := errors.AsType[*tlsdial.DialError](err); ok {
				return nil, e.Err
			}
			return nil, err
		}
		return conn, nil
	}
	other := t.Proxy
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Scheme == "https" {
			return nil, nil
		}
		return other(r)
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
