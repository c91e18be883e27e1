package iotsecuretunneling_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// keys are any user's.
var keys = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "session"}, nil
})

// service is the sandbox's control API behind real HTTP.
type service struct {
	*httptest.Server

	api   *api.API
	store *tunnels.Store
	calls atomic.Int32
	after func(http.ResponseWriter, *http.Request, http.Handler) // nil: the API answers
}

func start(t *testing.T, change func(*api.Config)) *service {
	t.Helper()
	s := &service{store: tunnels.New(tunnels.Config{Region: "eu-west-1"})}
	cfg := api.Config{Store: s.store}
	if change != nil {
		change(&cfg)
	}
	s.api = api.New(cfg)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		if s.after != nil {
			s.after(w, r, s.api)
			return
		}
		s.api.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) client(change ...func(*iot.Options)) *iot.Client {
	return iot.New(iot.Options{
		Region: "eu-west-1", Credentials: keys, BaseEndpoint: aws.String(s.URL), HTTPClient: s.Client(),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		}),
	}, change...)
}

func TestAllOperations(t *testing.T) {
	s := start(t, nil)
	c := s.client()
	ctx := t.Context()
	before := time.Now().Add(-time.Second)
	destination := &types.DestinationConfig{ThingName: aws.String("pi-1"), Services: []string{"SSH", "HTTP"}}
	tags := []types.Tag{{Key: aws.String("team"), Value: aws.String("field ops")}, {Key: aws.String("empty"), Value: aws.String("")}}
	opened, err := c.OpenTunnel(ctx, &iot.OpenTunnelInput{
		Description: aws.String("für Käthe"), DestinationConfig: destination, Tags: tags,
		TimeoutConfig: &types.TimeoutConfig{MaxLifetimeTimeoutMinutes: aws.Int32(60)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(opened.SourceAccessToken) == "" || aws.ToString(opened.DestinationAccessToken) == "" {
		t.Errorf("a token is missing in %v", opened)
	}
	described, err := c.DescribeTunnel(ctx, &iot.DescribeTunnelInput{TunnelId: opened.TunnelId})
	if err != nil {
		t.Fatal(err)
	}
	got := described.Tunnel
	for name, at := range map[string]*time.Time{"created": got.CreatedAt, "updated": got.LastUpdatedAt, "source": got.SourceConnectionState.LastUpdatedAt} {
		if at == nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("%s at %v", name, at)
		}
	}
	want := &types.Tunnel{
		TunnelId: opened.TunnelId, TunnelArn: opened.TunnelArn, Status: types.TunnelStatusOpen, Description: aws.String("für Käthe"),
		DestinationConfig: destination, Tags: tags, TimeoutConfig: &types.TimeoutConfig{MaxLifetimeTimeoutMinutes: aws.Int32(60)},
		SourceConnectionState:      &types.ConnectionState{Status: types.ConnectionStatusDisconnected},
		DestinationConnectionState: &types.ConnectionState{Status: types.ConnectionStatusDisconnected},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(&time.Time{})); diff != "" {
		t.Errorf("DescribeTunnel (-want +got):\n%s", diff)
	}

	for mode, sides := range map[types.ClientMode][2]bool{
		types.ClientModeSource: {true, false}, types.ClientModeDestination: {false, true}, types.ClientModeAll: {true, true},
	} {
		in := &iot.RotateTunnelAccessTokenInput{TunnelId: opened.TunnelId, ClientMode: mode}
		if mode != types.ClientModeSource {
			in.DestinationConfig = destination
		}
		rotated, err := c.RotateTunnelAccessToken(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if tokens := [2]bool{rotated.SourceAccessToken != nil, rotated.DestinationAccessToken != nil}; tokens != sides || *rotated.TunnelArn != *opened.TunnelArn {
			t.Errorf("%s rotated %v of %s", mode, tokens, *rotated.TunnelArn)
		}
	}

	if _, err := c.TagResource(ctx, &iot.TagResourceInput{ResourceArn: opened.TunnelArn, Tags: []types.Tag{{Key: aws.String("site"), Value: aws.String("roof")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UntagResource(ctx, &iot.UntagResourceInput{ResourceArn: opened.TunnelArn, TagKeys: []string{"team", "nowhere"}}); err != nil {
		t.Fatal(err)
	}
	listed, err := c.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: opened.TunnelArn})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]types.Tag{tags[1], {Key: aws.String("site"), Value: aws.String("roof")}}, listed.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}

	if _, err := c.CloseTunnel(ctx, &iot.CloseTunnelInput{TunnelId: opened.TunnelId}); err != nil {
		t.Fatal(err)
	}
	all, err := c.ListTunnels(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	summary := []types.TunnelSummary{{TunnelId: opened.TunnelId, TunnelArn: opened.TunnelArn, Status: types.TunnelStatusClosed, Description: aws.String("für Käthe")}}
	if diff := cmp.Diff(summary, all.TunnelSummaries, cmpopts.IgnoreTypes(&time.Time{})); diff != "" {
		t.Errorf("ListTunnels (-want +got):\n%s", diff)
	}
	if _, err := c.CloseTunnel(ctx, &iot.CloseTunnelInput{TunnelId: opened.TunnelId, Delete: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DescribeTunnel(ctx, &iot.DescribeTunnelInput{TunnelId: opened.TunnelId})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
		t.Errorf("a deleted tunnel: %v", err)
	}
}

func TestPaginatorGoesThroughAllPages(t *testing.T) {
	s := start(t, nil)
	var want []string
	for range 5 {
		o, err := s.store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH"}}})
		if err != nil {
			t.Fatal(err)
		}
		want = append([]string{o.Tunnel.ID}, want...)
	}
	if _, err := s.store.Open(tunnels.OpenInput{}); err != nil {
		t.Fatal(err)
	}
	p := iot.NewListTunnelsPaginator(s.client(), &iot.ListTunnelsInput{ThingName: aws.String("pi-1"), MaxResults: aws.Int32(2)})
	var got []string
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, tunnel := range page.TunnelSummaries {
			got = append(got, *tunnel.TunnelId)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || s.calls.Load() != 3 {
		t.Errorf("%d calls (-want +got):\n%s", s.calls.Load(), diff)
	}
	if _, err := p.NextPage(t.Context()); err == nil {
		t.Error("there was a page after the last")
	}
}

func TestErrorsAreToldByTheirType(t *testing.T) {
	for _, b := range []api.Behaviour{{}, {ErrorStatus: 403, QualifiedTypes: true}} {
		s := start(t, func(c *api.Config) { c.Behaviour = b })
		c := s.client()
		_, err := c.OpenTunnel(t.Context(), &iot.OpenTunnelInput{DestinationConfig: &types.DestinationConfig{Services: []string{"a", "b", "c", "d"}}})
		if e, ok := errors.AsType[*types.LimitExceededException](err); !ok || e.ErrorMessage() == "" {
			t.Errorf("%+v: %v", b, err)
		}
		_, err = c.RotateTunnelAccessToken(t.Context(), &iot.RotateTunnelAccessTokenInput{TunnelId: aws.String("nope"), ClientMode: types.ClientModeAll})
		if e, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok || e.ErrorCode() != "ResourceNotFoundException" {
			t.Errorf("%+v: %v", b, err)
		}
		_, err = c.DescribeTunnel(t.Context(), &iot.DescribeTunnelInput{})
		if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "ValidationException" {
			t.Errorf("%+v: %v", b, err)
		}
		if op, ok := errors.AsType[*smithy.OperationError](err); !ok || op.OperationName != "DescribeTunnel" {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

func TestOddAnswers(t *testing.T) {
	tests := []struct {
		name, body, header string
		status             int
		want               string
	}{
		{"type in the header alone", `{}`, "LimitExceededException:http://internal.amazon.com/", 400, "LimitExceededException: "},
		{"Message with a capital", `{"__type":"a.b#LimitExceededException","Message":"too much"}`, "", 400, "LimitExceededException: too much"},
		{"code instead of a type", `{"code":"AccessDenied","message":"no"}`, "", 403, "AccessDenied: no"},
		{"a web proxy's page", `<html>no</html>`, "", 407, "UnknownError: the response is not an error of the service: HTTP status 407"},
		{"good, but no JSON", `<html>welcome</html>`, "", 200, "the response is not JSON"},
		{"good, but of other types", `{"tunnel":{"tags":[{"key":1}]}}`, "", 200, "member tunnel.tags.key is a number, not a string"},
		{"a time that is none", `{"tunnel":{"createdAt":1e300}}`, "", 200, "member tunnel.createdAt is a 1e300, not a time.Time"},
		{"unknown members and nulls", `{"tunnel":{"createdAt":null,"new":[{}]},"x":1}`, "", 200, ""},
		{"a fraction of a second", `{"tunnel":{"createdAt":1.7e9}}`, "", 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, nil)
			s.after = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				w.Header().Set("X-Amzn-Errortype", tt.header)
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}
			_, err := s.client().DescribeTunnel(t.Context(), &iot.DescribeTunnelInput{TunnelId: aws.String("x")})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestWhatIsRepeated(t *testing.T) {
	open := func(c *iot.Client) error {
		_, err := c.OpenTunnel(context.Background(), nil)
		return err
	}
	list := func(c *iot.Client) error {
		_, err := c.ListTunnels(context.Background(), nil)
		return err
	}
	hangUp := func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	lost := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w, r, nil)
	}
	tests := []struct {
		name  string
		call  func(*iot.Client) error
		fault *api.Fault
		after func(http.ResponseWriter, *http.Request, http.Handler)
		calls int32
		ok    bool
	}{
		{"a throttled list", list, &api.Fault{Count: 2}, nil, 3, true},
		{"a throttled open", open, &api.Fault{Count: 2}, nil, 3, true},
		{"throttled for too long", open, &api.Fault{Count: 9}, nil, 3, false},
		{"a list after an internal error", list, &api.Fault{Type: "InternalServerException", Status: 500}, nil, 2, true},
		{"an open after an internal error", open, &api.Fault{Type: "InternalServerException", Status: 500}, nil, 1, false},
		{"a list whose answer is lost", list, nil, lost, 3, false},
		{"an open whose answer is lost", open, nil, lost, 1, false},
		{"what is beyond the quota", open, &api.Fault{Type: "LimitExceededException", Count: 9}, nil, 1, false},
		{"what is not allowed", list, &api.Fault{Type: "AccessDeniedException", Status: 403}, nil, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, nil)
			s.after = tt.after
			if tt.fault != nil {
				if err := s.api.Fail(*tt.fault); err != nil {
					t.Fatal(err)
				}
			}
			if err := tt.call(s.client()); (err == nil) != tt.ok || s.calls.Load() != tt.calls {
				t.Errorf("%d calls, %v; want %d", s.calls.Load(), err, tt.calls)
			}
		})
	}
}

func TestOpenIsRepeatedWhenItWasNeverSent(t *testing.T) {
	s := start(t, nil)
	dials := 0
	c := s.client(func(o *iot.Options) {
		o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials++; dials == 1 {
				return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}, DisableKeepAlives: true}}
	})
	if _, err := c.OpenTunnel(t.Context(), nil); err != nil || dials != 2 || s.calls.Load() != 1 {
		t.Errorf("%d dials, %d calls, %v", dials, s.calls.Load(), err)
	}
}

func TestUnsignedCalls(t *testing.T) {
	s := start(t, func(c *api.Config) { c.AllowUnsigned = true })
	var authorization string
	s.after = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		authorization = r.Header.Get("Authorization")
		next.ServeHTTP(w, r)
	}
	for _, credentials := range []aws.CredentialsProvider{nil, aws.AnonymousCredentials{}} {
		c := s.client(func(o *iot.Options) { o.Credentials, o.Region = credentials, "" })
		if _, err := c.ListTunnels(t.Context(), nil); err != nil || authorization != "" {
			t.Errorf("%v, Authorization %q", err, authorization)
		}
	}
	_, err := iot.New(iot.Options{Credentials: keys}).ListTunnels(t.Context(), nil)
	if _, ok := errors.AsType[*aws.MissingRegionError](err); !ok {
		t.Errorf("without a region: %v", err)
	}
}
