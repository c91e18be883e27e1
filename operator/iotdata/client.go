package iotdata

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/culvert-iot/culvert/operator/retries"
	"github.com/culvert-iot/culvert/operator/signed"
)

const (
	// ServiceID is the service's name in the AWS SDKs.
	ServiceID   = "IoT Data Plane"
	signingName = "iotdevicegateway" // API reference: data-plane requests
)

// Options are what a [Client] is made of.
type Options struct {
	Region      string
	Credentials aws.CredentialsProvider // nil or aws.AnonymousCredentials: calls are not signed
	Endpoint    string                  // https://host[:port], the account's iot:Data-ATS endpoint; required
	HTTPClient  aws.HTTPClient          // nil: http.DefaultClient
	Retryer     aws.Retryer             // nil: the SDK's standard one
}

// Client calls the data plane. Its methods are safe for concurrent use.
type Client struct{ options Options }

// New returns a client.
func New(o Options) *Client {
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	if o.Retryer == nil {
		o.Retryer = retries.New("", 0)
	}
	return &Client{o}
}

// NewFromConfig returns a client with the SDK's configuration for the given endpoint, a host name or a URL.
func NewFromConfig(cfg aws.Config, endpoint string) *Client {
	o := Options{Region: cfg.Region, Credentials: cfg.Credentials, HTTPClient: cfg.HTTPClient, Endpoint: endpoint, Retryer: retries.Of(cfg)}
	if !strings.Contains(endpoint, "://") {
		o.Endpoint = "https://" + endpoint
	}
	return New(o)
}

// request is one call. Its body, if any, is sent again with each attempt.
type request struct {
	operation string
	method    string
	clientID  string
	topic     string // instead of clientID: of a retained message
	below     string // what follows the client's path, such as "/subscriptions"
	query     url.Values
	body      []byte
	once      bool // the call has an effect that a repetition would double
}

// call sends r and decodes its answer into out, if out is not nil. Errors are a *smithy.OperationError around what
// happened; what the service answered is a *smithy.GenericAPIError within.
func (c *Client) call(ctx context.Context, r request, out any) error {
	repeat := func(err error) bool { return c.repeat(r, err) }
	err := retries.Do(ctx, c.options.Retryer, repeat, func() error { return c.send(ctx, r, out) })
	if err != nil {
		return &smithy.OperationError{ServiceID: ServiceID, OperationName: r.operation, Err: err}
	}
	return nil
}

// repeat reports whether r may be sent again after err. A call that must not be doubled is repeated only when the
// service says that it did nothing.
func (c *Client) repeat(r request, err error) bool {
	if r.once {
		e, ok := errors.AsType[smithy.APIError](err)
		return ok && e.ErrorCode() == "ThrottlingException"
	}
	return c.options.Retryer.IsErrorRetryable(err)
}

func (c *Client) send(ctx context.Context, r request, out any) error {
	req, err := c.build(ctx, r)
	if err != nil {
		return err
	}
	resp, answer, err := signed.Send(c.options.HTTPClient, req)
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &smithyhttp.ResponseError{
			Response: resp, Err: apiError(resp.Response, answer),
		}
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	return nil
}

func (c *Client) build(ctx context.Context, r request) (*http.Request, error) {
	base, err := url.Parse(c.options.Endpoint)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("invalid data endpoint %q", c.options.Endpoint)
	}
	path := "/connections/" + url.PathEscape(r.clientID) + r.below
	if r.topic != "" {
		path = "/retainedMessage/" + url.PathEscape(r.topic)
	}
	target := strings.TrimSuffix(base.String(), "/") + path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if p := c.options.Credentials; p != nil && !aws.IsCredentialsProvider(p, aws.AnonymousCredentials{}) {
		if c.options.Region == "" {
			return nil, &aws.MissingRegionError{}
		}
		if err := signed.Sign(ctx, p, req, r.body, signingName, c.options.Region); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// apiError decodes an error of the service (AWS restJson1: the type is in a header or in the body).
func apiError(resp *http.Response, body []byte) error {
	var answer struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &answer) // a web page of a proxy is no JSON
	code := resp.Header.Get("X-Amzn-Errortype")
	for _, other := range []string{answer.Type, answer.Code, http.StatusText(resp.StatusCode)} {
		if code == "" {
			code = other
		}
	}
	code, _, _ = strings.Cut(code, ":")
	if _, after, found := strings.Cut(code, "#"); found {
		code = after
	}
	fault := smithy.FaultClient
	if resp.StatusCode >= 500 {
		fault = smithy.FaultServer
	}
	return &smithy.GenericAPIError{Code: code, Message: answer.Message, Fault: fault}
}
