package iotsecuretunneling

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/internal/version"
)

// The service's names on the wire (API model). The case of the signing name matters.
const (
	signingName  = "IoTSecuredTunneling"
	targetPrefix = "IoTSecuredTunneling."
	contentType  = "application/x-amz-json-1.1"
)

// invoke makes one call. Every error is a *smithy.OperationError around what happened.
func invoke[Out, In any](ctx context.Context, c *Client, operation string, in *In, optFns []func(*Options)) (*Out, error) {
	options := c.options
	for _, fn := range optFns {
		fn(&options)
	}
	if in == nil {
		in = new(In)
	}
	out := new(Out)
	call := &call{operation: operation, options: options, in: in, out: out}
	if err := call.do(ctx); err != nil {
		return nil, &smithy.OperationError{ServiceID: ServiceID, OperationName: operation, Err: err}
	}
	return out, nil
}

// call is one operation with its middleware: serialize, sign and send each attempt, deserialize.
type call struct {
	operation string
	options   Options
	in, out   any
}

func (c *call) do(ctx context.Context) error {
	stack := middleware.NewStack(c.operation, smithyhttp.NewStackRequest)
	if err := c.build(stack); err != nil {
		return err
	}
	ctx = middleware.ClearStackValues(ctx)
	ctx = awsmiddleware.SetServiceID(ctx, ServiceID)
	ctx = awsmiddleware.SetOperationName(ctx, c.operation)
	// The SDK keeps the successors of these and of the signing middleware below internal, and its correction of wrong
	// clocks too.
	ctx = awsmiddleware.SetSigningName(ctx, signingName)        //nolint:staticcheck // SA1019: see above
	ctx = awsmiddleware.SetSigningRegion(ctx, c.options.Region) //nolint:staticcheck // SA1019: see above
	handler := middleware.DecorateHandler(smithyhttp.NewClientHandlerWithOptions(c.options.HTTPClient), stack)
	_, _, err := handler.Handle(ctx, c.in)
	return err
}

func (c *call) build(stack *middleware.Stack) error {
	unsigned := c.options.Credentials == nil || aws.IsCredentialsProvider(c.options.Credentials, aws.AnonymousCredentials{})
	retryer := careful{c.options.Retryer, c.operation == "OpenTunnel"}
	steps := []func(*middleware.Stack) error{
		func(s *middleware.Stack) error {
			return s.Serialize.Add(middleware.SerializeMiddlewareFunc("OperationSerializer", c.serialize), middleware.After)
		},
		awsmiddleware.AddClientRequestIDMiddleware,
		awsmiddleware.AddRequestUserAgentMiddleware,
		awsmiddleware.AddUserAgentKeyValue("culvert", version.Get().Version),
		func(s *middleware.Stack) error {
			return s.Finalize.Add(retry.NewAttemptMiddleware(retryer, smithyhttp.RequestCloner), middleware.After)
		},
		func(s *middleware.Stack) error { return s.Finalize.Add(&v4.ComputePayloadSHA256{}, middleware.After) },
		awsmiddleware.AddRecordResponseTiming,
		func(s *middleware.Stack) error {
			return s.Deserialize.Add(middleware.DeserializeMiddlewareFunc("OperationDeserializer", c.deserialize), middleware.After)
		},
		awsmiddleware.AddRequestIDRetrieverMiddleware,
		awshttp.AddResponseErrorMiddleware,
	}
	if c.options.AppID != "" {
		steps = append(steps, awsmiddleware.AddSDKAgentKey(awsmiddleware.ApplicationIdentifier, c.options.AppID))
	}
	if !unsigned {
		steps = append(steps, func(s *middleware.Stack) error {
			signing := v4.NewSignHTTPRequestMiddleware(v4.SignHTTPRequestMiddlewareOptions{ //nolint:staticcheck // SA1019: see do
				CredentialsProvider: c.options.Credentials, Signer: v4.NewSigner(),
			})
			return s.Finalize.Add(signing, middleware.After)
		})
	}
	for _, add := range append(steps, c.options.APIOptions...) {
		if err := add(stack); err != nil {
			return fmt.Errorf("build the call: %w", err)
		}
	}
	if c.options.Region == "" && (!unsigned || c.options.BaseEndpoint == nil) {
		return &aws.MissingRegionError{}
	}
	return nil
}

func (c *call) serialize(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (middleware.SerializeOutput, middleware.Metadata, error) {
	fail := func(err error) (middleware.SerializeOutput, middleware.Metadata, error) {
		return middleware.SerializeOutput{}, middleware.Metadata{}, &smithy.SerializationError{Err: err}
	}
	req := in.Request.(*smithyhttp.Request)
	endpoint, err := c.endpoint()
	if err != nil {
		return fail(err)
	}
	body, err := json.Marshal(c.in)
	if err != nil {
		return fail(err)
	}
	req.URL = endpoint
	req.Method = http.MethodPost
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Amz-Target", targetPrefix+c.operation)
	if req, err = req.SetStream(bytes.NewReader(body)); err != nil {
		return fail(err)
	}
	in.Request = req
	return next.HandleSerialize(ctx, in)
}

func (c *call) endpoint() (*url.URL, error) {
	if c.options.Region != "" {
		if _, err := endpoints.Data(c.options.Region); err != nil { // part of the signature, too
			return nil, &EndpointError{Err: err}
		}
	}
	if c.options.BaseEndpoint == nil {
		host, err := endpoints.API(c.options.Region, c.options.EndpointOptions)
		if err != nil {
			return nil, &EndpointError{Err: err}
		}
		return &url.URL{Scheme: "https", Host: host, Path: "/"}, nil
	}
	u, err := url.Parse(*c.options.BaseEndpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &EndpointError{URL: *c.options.BaseEndpoint}
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	return u, nil
}

// EndpointError reports a configured URL that is not one, or a region without an endpoint.
type EndpointError struct {
	URL string // as configured; "" if the region is wrong
	Err error  // what is wrong with the region
}

func (e *EndpointError) Error() string {
	if e.Err != nil {
		return "no endpoint: " + e.Err.Error()
	}
	return fmt.Sprintf("invalid endpoint: %s: a URL such as https://host or http://127.0.0.1:8080 is needed", e.URL)
}

func (e *EndpointError) Unwrap() error { return e.Err }

func (c *call) deserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if err != nil {
		return out, metadata, err
	}
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if !ok {
		return out, metadata, &smithy.DeserializationError{Err: fmt.Errorf("unexpected response %T", out.RawResponse)}
	}
	defer resp.Body.Close()
	body, err := readBody(resp.Body)
	if err != nil {
		return out, metadata, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return out, metadata, decodeError(resp, body)
	}
	out.Result = c.out
	return out, metadata, decodeOutput(body, c.out)
}
