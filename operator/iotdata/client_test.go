package iotdata

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"
)

// service answers with the given handler, and returns a client of it whose retries do not wait.
func service(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return New(Options{
		Region: "eu-west-1", Endpoint: server.URL, Retryer: eager{aws.NopRetryer{}},
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
	})
}

// eager repeats server errors at once, three attempts in all.
type eager struct{ aws.NopRetryer }

func (eager) MaxAttempts() int                             { return 3 }
func (eager) RetryDelay(int, error) (time.Duration, error) { return 0, nil }
func (eager) IsErrorRetryable(err error) bool {
	return hasCode(err, "InternalFailureException") || hasCode(err, "ThrottlingException")
}

func TestRequestsAreAsTheAPIReferenceSays(t *testing.T) {
	var seen []string
	c := service(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+string(body)))
		if !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/iotdevicegateway/aws4_request") {
			t.Errorf("signed as %q", r.Header.Get("Authorization"))
		}
		switch {
		case strings.Contains(r.RequestURI, "nextToken"):
			_, _ = io.WriteString(w, `{"subscriptions":[{"topicFilter":"b","qos":0}]}`)
		case strings.Contains(r.RequestURI, "subscriptions"):
			_, _ = io.WriteString(w, `{"subscriptions":[{"topicFilter":"a","qos":1}],"nextToken":"n"}`)
		case strings.Contains(r.RequestURI, "retained"):
			_, _ = io.WriteString(w, `{"topic":"a/b","payload":"aGk=","qos":1,"lastModifiedTime":1700000000000}`)
		case r.Method == http.MethodGet:
			_, _ = io.WriteString(w, `{"connected":true,"clientId":"pi 1","connectedSince":1700000000000,"sourceIp":"203.0.113.7"}`)
		}
	})
	ctx := t.Context()
	connection, err := c.GetConnection(ctx, "pi 1", true)
	if err != nil || !connection.Connected || connection.SourceIP != "203.0.113.7" || connection.Since().Unix() != 1700000000 {
		t.Errorf("connection %+v, error %v", connection, err)
	}
	list, err := c.ListSubscriptions(ctx, "pi-1")
	if diff := cmp.Diff([]Subscription{{"a", 1}, {"b", 0}}, list); diff != "" || err != nil {
		t.Errorf("subscriptions differ: %s, error %v", diff, err)
	}
	if err := c.SendDirectMessage(ctx, DirectMessage{ClientID: "pi-1", Topic: "$x/y", ResponseTopic: "r", Payload: []byte("hi"), Timeout: 5 * time.Second}); err != nil {
		t.Error(err)
	}
	if err := c.DeleteConnection(ctx, "pi-1", true); err != nil {
		t.Error(err)
	}
	message, err := c.GetRetainedMessage(ctx, "a/b")
	if diff := cmp.Diff(&RetainedMessage{"a/b", []byte("hi"), 1, 1700000000000}, message); diff != "" || err != nil {
		t.Errorf("retained message differs: %s, error %v", diff, err)
	}
	want := []string{
		"GET /connections/pi%201?includeSocketInformation=true",
		"GET /connections/pi-1/subscriptions?maxResults=200",
		"GET /connections/pi-1/subscriptions?maxResults=200&nextToken=n",
		"POST /connections/pi-1/messages?confirmation=true&responseTopic=r&timeout=5&topic=%24x%2Fy hi",
		"DELETE /connections/pi-1?cleanSession=true",
		"GET /retainedMessage/a%2Fb",
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("requests differ (-want +got):\n%s", diff)
	}
}

func TestErrorsOfTheServiceAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header string
		body   string
		is     func(error) bool
	}{
		"unknown client":       {404, "ResourceNotFoundException:http://internal/", `{"message":"no such client"}`, IsNotFound},
		"type in the body":     {404, "", `{"__type":"com.amazonaws#ResourceNotFoundException"}`, IsNotFound},
		"denied":               {403, "ForbiddenException", `{"message":null}`, IsDenied},
		"not acknowledged":     {504, "GatewayTimeoutException", `{}`, IsTimeout},
		"a proxy's web page":   {502, "", "<html>", func(err error) bool { return hasCode(err, "Bad Gateway") }},
		"an empty answer":      {500, "", "", func(err error) bool { return hasCode(err, "Internal Server Error") }},
		"throttled every time": {429, "ThrottlingException", `{"message":"slow down"}`, func(err error) bool { return hasCode(err, "ThrottlingException") }},
	} {
		t.Run(name, func(t *testing.T) {
			client := service(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.header != "" {
					w.Header().Set("x-amzn-ErrorType", c.header)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			if _, err := client.GetConnection(t.Context(), "pi-1", false); err == nil || !c.is(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestOnlyHarmlessCallsAreRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		call func(context.Context, *Client) error
		want int
	}{
		"reading, server error": {"InternalFailureException", func(ctx context.Context, c *Client) error {
			_, err := c.GetConnection(ctx, "pi-1", false)
			return err
		}, 3},
		"message, server error": {"InternalFailureException", func(ctx context.Context, c *Client) error {
			return c.SendDirectMessage(ctx, DirectMessage{ClientID: "pi-1", Topic: "t"})
		}, 1},
		"message, throttled": {"ThrottlingException", func(ctx context.Context, c *Client) error {
			return c.SendDirectMessage(ctx, DirectMessage{ClientID: "pi-1", Topic: "t"})
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			client := service(t, func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.Header().Set("x-amzn-ErrorType", c.code)
				w.WriteHeader(http.StatusInternalServerError)
			})
			if err := c.call(t.Context(), client); err == nil || calls != c.want {
				t.Errorf("%d calls, want %d, error %v", calls, c.want, err)
			}
		})
	}
}

func TestTheConfigurationSaysHowOftenACallIsSent(t *testing.T) {
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("X-Amzn-ErrorType", "ThrottlingException")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(server.Close)
	cfg := aws.Config{Region: "eu-west-1", RetryMaxAttempts: 1}
	if _, err := NewFromConfig(cfg, server.URL).GetConnection(t.Context(), "a", false); !hasCode(err, "ThrottlingException") {
		t.Error(err)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the call was sent %d times", n)
	}
}
