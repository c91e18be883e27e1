package operator

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// DefaultTimeout limits how long connecting may take and how long the service may be silent, as in the AWS CLI.
const DefaultTimeout = 60 * time.Second

// Options configure how AWS is reached. With the zero value, the environment and the shared files decide, as for the AWS
// CLI and the SDKs.
type Options struct {
	Profile     string // takes precedence over credentials in the environment
	Region      string
	EndpointURL string // of the control API alone, not of the services that credentials come from

	CABundle    string // PEM file of the only authorities to trust
	NoVerifySSL bool   // accepts any certificate

	NoSignRequest bool // makes calls without credentials

	ReadTimeout    time.Duration // how long the service may be silent. 0: [DefaultTimeout], negative: no limit
	ConnectTimeout time.Duration // 0: [DefaultTimeout], negative: no limit

	// Debug logs each request and response of the control API, without tokens, credentials and signatures. May be nil.
	Debug *slog.Logger
}

// LoadConfig loads the SDK's configuration from files and the environment. It does not get credentials yet, and does not
// fail without a region: the first call does.
//
// Errors: [config.SharedConfigProfileNotExistError], [*CABundleError], and the SDK's for broken files. [Explain] knows
// them all.
func LoadConfig(ctx context.Context, o Options) (aws.Config, error) {
	// The profile may name authorities, so that this is complete once the files have been read. Credentials are got with the
	// same client, and by no earlier call.
	var verify atomic.Pointer[tls.Config]
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
		t.TLSHandshakeTimeout = 0 // the read timeout bounds it
		if o.NoVerifySSL {
			t.TLSClientConfig.InsecureSkipVerify = true // it is what was asked for
		}
		o.dialTLS(t, verify.Load)
	})

	// The SDK's log is either silent or on the user's terminal.
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
	bundle, source := o.CABundle, "--ca-bundle"
	if bundle == "" {
		bundle, source = os.Getenv("AWS_CA_BUNDLE"), "AWS_CA_BUNDLE"
	}
	if bundle != "" {
		pem, err := os.ReadFile(bundle) //nolint:gosec // the user names the file
		if err != nil {
			return aws.Config{}, &CABundleError{bundle, source, err}
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return aws.Config{}, &CABundleError{bundle, source, errors.New("there is no certificate in PEM form in it")}
		}
		load = append(load, config.WithCustomCABundle(bytes.NewReader(pem)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		_, isShared := errors.AsType[config.SharedConfigLoadError](err)
		if e, ok := errors.AsType[*fs.PathError](err); ok && !isShared {
			return aws.Config{}, &CABundleError{e.Path, "the profile's ca_bundle", err}
		}
		return aws.Config{}, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		verify.Store(b.GetTransport().TLSClientConfig)
	}
	if cfg.Credentials != nil {
		cfg.Credentials = discreet{cfg.Credentials}
	}
	if o.EndpointURL != "" {
		cfg.BaseEndpoint = &o.EndpointURL
		cfg.ConfigSources = append([]any{givenEndpoint(o.EndpointURL)}, cfg.ConfigSources...)
	}
	if cfg.BaseEndpoint != nil && !isURL(*cfg.BaseEndpoint) { // the SDK's clients would report it in words of their own
		return aws.Config{}, &iotsecuretunneling.EndpointError{URL: *cfg.BaseEndpoint}
	}
	if o.Debug != nil {
		cfg.HTTPClient = &debugClient{next: cfg.HTTPClient, log: o.Debug}
	}
	return cfg, nil
}

// isURL reports whether an endpoint has a scheme that calls can use, and a host.
func isURL(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

func orDefault(d time.Duration) time.Duration {
	if d == 0 {
		return DefaultTimeout
	}
	return d
}

// givenEndpoint is the configuration source of --endpoint-url, which precedes all others. It is not among the SDK's
// options: the SDK would send calls for credentials there too.
type givenEndpoint string

// GetServiceBaseEndpoint implements the SDK's configuration source.
func (e givenEndpoint) GetServiceBaseEndpoint(context.Context, string) (string, bool, error) {
	return string(e), true, nil
}

// impatientConn fails a read when no data arrives within the timeout.
type impatientConn struct {
	net.Conn

	timeout time.Duration // no limit unless positive
}

func (c *impatientConn) Read(p []byte) (int, error) {
	if c.timeout > 0 {
		if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

// CABundleError reports a file of certificate authorities that cannot be used.
type CABundleError struct {
	Path   string
	Source string // what names it: --ca-bundle, AWS_CA_BUNDLE or the profile
	Err    error
}

func (e *CABundleError) Error() string {
	return fmt.Sprintf("CA bundle %s (%s): %v", e.Path, e.Source, e.Err)
}

func (e *CABundleError) Unwrap() error { return e.Err }
