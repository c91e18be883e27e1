package iotsecuretunneling

import (
	"context"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"

	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/operator/retries"
)

// ServiceID is the service's name in the AWS SDKs and, in capitals, in the environment:
// AWS_ENDPOINT_URL_IOTSECURETUNNELING.
const ServiceID = "IoTSecureTunneling"

// Options configure a [Client]. Region is required, unless there is a BaseEndpoint and no Credentials.
type Options struct {
	Region      string
	Credentials aws.CredentialsProvider // nil or aws.AnonymousCredentials: calls are not signed

	// BaseEndpoint is the URL to call instead of the region's, such as http://127.0.0.1:8080.
	BaseEndpoint *string
	// EndpointOptions choose among the region's host names.
	EndpointOptions endpoints.Variant

	HTTPClient aws.HTTPClient // nil: the SDK's

	Retryer          aws.Retryer // nil: made of the two below
	RetryMaxAttempts int         // 0: the SDK's default, 3
	RetryMode        aws.RetryMode

	APIOptions []func(*middleware.Stack) error
	AppID      string
}

// Client calls the control API. Its methods are safe for concurrent use.
type Client struct {
	options Options
}

// New returns a client.
func New(options Options, optFns ...func(*Options)) *Client {
	for _, fn := range optFns {
		fn(&options)
	}
	if options.HTTPClient == nil {
		options.HTTPClient = awshttp.NewBuildableClient()
	}
	if options.Retryer == nil {
		options.Retryer = retries.New(options.RetryMode, options.RetryMaxAttempts)
	}
	return &Client{options: options}
}

// NewFromConfig returns a client for the SDK's configuration. It takes the endpoint from the environment and the shared
// file: AWS_ENDPOINT_URL_IOTSECURETUNNELING, else AWS_ENDPOINT_URL, else the file.
func NewFromConfig(cfg aws.Config, optFns ...func(*Options)) *Client {
	o := Options{
		Region: cfg.Region, Credentials: cfg.Credentials, HTTPClient: cfg.HTTPClient, BaseEndpoint: configuredEndpoint(cfg),
		RetryMaxAttempts: cfg.RetryMaxAttempts, RetryMode: cfg.RetryMode, APIOptions: cfg.APIOptions, AppID: cfg.AppID,
	}
	if cfg.Retryer != nil {
		o.Retryer = cfg.Retryer()
	}
	ctx := context.Background() // the sources are in memory already
	for _, source := range cfg.ConfigSources {
		if p, ok := source.(interface {
			GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error)
		}); ok && !o.EndpointOptions.FIPS {
			state, found, err := p.GetUseFIPSEndpoint(ctx)
			o.EndpointOptions.FIPS = found && err == nil && state == aws.FIPSEndpointStateEnabled
		}
		if p, ok := source.(interface {
			GetUseDualStackEndpoint(context.Context) (aws.DualStackEndpointState, bool, error)
		}); ok && !o.EndpointOptions.DualStack {
			state, found, err := p.GetUseDualStackEndpoint(ctx)
			o.EndpointOptions.DualStack = found && err == nil && state == aws.DualStackEndpointStateEnabled
		}
	}
	return New(o, optFns...)
}

// Options returns a copy of the client's options.
func (c *Client) Options() Options { return c.options }

// configuredEndpoint finds the endpoint URL by the rules that the AWS SDKs share. It returns nil without one.
func configuredEndpoint(cfg aws.Config) *string {
	ctx := context.Background()
	for _, source := range cfg.ConfigSources {
		if p, ok := source.(interface {
			GetIgnoreConfiguredEndpoints(context.Context) (bool, bool, error)
		}); ok {
			if ignore, found, err := p.GetIgnoreConfiguredEndpoints(ctx); found && err == nil && ignore {
				return cfg.BaseEndpoint // nil, or one that the program itself has set
			}
		}
	}
	// The environment's general URL takes precedence over the shared file's special one.
	_, general := os.LookupEnv("AWS_ENDPOINT_URL")
	_, special := os.LookupEnv("AWS_ENDPOINT_URL_IOTSECURETUNNELING")
	if general && !special {
		return cfg.BaseEndpoint
	}
	for _, source := range cfg.ConfigSources {
		if p, ok := source.(interface {
			GetServiceBaseEndpoint(context.Context, string) (string, bool, error)
		}); ok {
			if url, found, err := p.GetServiceBaseEndpoint(ctx, ServiceID); found && err == nil {
				return &url
			}
		}
	}
	return cfg.BaseEndpoint
}
