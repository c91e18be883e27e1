package operator

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"github.com/culvert-iot/culvert/internal/netdial"
)

// DefaultTimeout is how long a connection may take, and how long the service may be silent, as in the AWS CLI.
const DefaultTimeout = 60 * time.Second

// Options say how AWS is reached. The zero value leaves everything to the environment and the shared files, as the AWS
// CLI and the SDKs read them.
type Options struct {
	Profile     string // counts more than credentials in the environment
	Region      string
	EndpointURL string // of the control API alone, not of the services that credentials come from

	CABundle    string // PEM file of the only authorities to trust
	NoVerifySSL bool   // takes any certificate

	NoSignRequest bool // makes calls without credentials

	ReadTimeout    time.Duration // how long the service may be silent; 0: DefaultTimeout, negative: for ever
	ConnectTimeout time.Duration // 0: DefaultTimeout, negative: for ever

	// Debug gets each request and answer of the control API, without tokens, credentials and signatures. nil: nothing.
	Debug *slog.Logger
}

// LoadConfig loads the SDK's configuration: it reads files and the environment, and asks nobody for credentials yet.
// A configuration without a region is no error here, but of the first call.
//
// Errors: config.SharedConfigProfileNotExistError, *CABundleError and what the SDK says of broken files; Explain knows
// them all.
func LoadConfig(ctx context.Context, o Options) (aws.Config, error) {
	client := awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) { d.Timeout = 0 }).WithTransportOptions(func(t *http.Transport) {
		dial := t.DialContext
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if d := orDefault(o.ConnectTimeout); d > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d)
				defer cancel()
			}
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &impatientConn{conn, orDefault(o.ReadTimeout)}, nil
		}
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme == "https" {
				// net/http connects directly where it cannot parse the variable.
				port := cmp.Or(r.URL.Port(), "443")
				if _, _, err := netdial.FromEnvironment().Via(net.JoinHostPort(r.URL.Hostname(), port)); err != nil {
					return nil, err
				}
			}
			return http.ProxyFromEnvironment(r)
		}
		t.TLSHandshakeTimeout = 0 // the read timeout bounds it
		if o.NoVerifySSL {
			t.TLSClientConfig.InsecureSkipVerify = true // it is what was asked for
		}
	})

	// The SDK's own log knows no middle between silence and a user's terminal.
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(client), config.WithLogger(logging.Nop{})}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.NoSignRequest {
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	}
	if o.CABundle != "" {
		pem, err := os.ReadFile(o.CABundle)
		if err != nil {
			return aws.Config{}, &CABundleError{Path: o.CABundle, Err: err}
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return aws.Config{}, &CABundleError{Path: o.CABundle, Err: errors.New("there is no certificate in PEM form in it")}
		}
		load = append(load, config.WithCustomCABundle(bytes.NewReader(pem)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if o.EndpointURL != "" {
		cfg.BaseEndpoint = &o.EndpointURL
		cfg.ConfigSources = append([]any{givenEndpoint(o.EndpointURL)}, cfg.ConfigSources...)
	}
	if o.Debug != nil {
		cfg.HTTPClient = &debugClient{next: cfg.HTTPClient, log: o.Debug}
	}
	return cfg, nil
}

func orDefault(d time.Duration) time.Duration {
	if d == 0 {
		return DefaultTimeout
	}
	return d
}

// givenEndpoint is the configuration source of --endpoint-url, which comes before all others. It is not put into the
// SDK's own options, which would send the calls for credentials there, too.
type givenEndpoint string

// GetServiceBaseEndpoint makes it a source for clients.
func (e givenEndpoint) GetServiceBaseEndpoint(context.Context, string) (string, bool, error) {
	return string(e), true, nil
}

// impatientConn fails a read during which nothing comes for a while.
type impatientConn struct {
	net.Conn

	timeout time.Duration // not positive: for ever
}

func (c *impatientConn) Read(p []byte) (int, error) {
	if c.timeout > 0 {
		if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

// CABundleError says that a file of authorities cannot be used.
type CABundleError struct {
	Path string
	Err  error
}

func (e *CABundleError) Error() string { return fmt.Sprintf("CA bundle %s: %v", e.Path, e.Err) }
func (e *CABundleError) Unwrap() error { return e.Err }
