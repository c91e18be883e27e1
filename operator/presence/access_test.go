package presence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// service stands for AWS: it answers as its functions say, and counts the calls.
type service struct {
	endpoint func() (status int, err error)
	// see reports whether the caller may see a client's connection, with its address or without.
	see func(client string, address bool) bool

	endpoints, connections int
}

// Do answers one call.
func (s *service) Do(r *http.Request) (*http.Response, error) {
	answer := func(status int, body string) (*http.Response, error) {
		h := http.Header{"Content-Type": {"application/json"}}
		if status == http.StatusForbidden {
			h.Set("X-Amzn-Errortype", "ForbiddenException")
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	if r.URL.Path == "/endpoint" {
		s.endpoints++
		status, err := s.endpoint()
		if err != nil {
			return nil, err
		}
		return answer(status, `{"endpointAddress":"data.test"}`)
	}
	s.connections++
	address := r.URL.Query().Get("includeSocketInformation") == "true"
	if !s.see(strings.TrimPrefix(r.URL.Path, "/connections/"), address) {
		return answer(http.StatusForbidden, `{"message":"not authorized"}`)
	}
	return answer(http.StatusOK, fmt.Sprintf(`{"connected":true,"sourceIp":"%s"}`, map[bool]string{true: "203.0.113.7"}[address]))
}

func (s *service) client(t *testing.T) *Client {
	t.Helper()
	t.Setenv("AWS_ENDPOINT_URL_IOT_DATA_PLANE", "")
	return New(aws.Config{
		Region: "eu-west-1", BaseEndpoint: aws.String("https://iot.test"), HTTPClient: s,
		Credentials: aws.AnonymousCredentials{}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
}

func found() (int, error) { return http.StatusOK, nil }

func TestARefusalCostsNoCallForEachThing(t *testing.T) {
	mine := func(client string) bool { return strings.HasPrefix(client, "pi") }
	for name, c := range map[string]struct {
		see       func(client string, address bool) bool
		calls     int
		addresses int
	}{
		"all is allowed":               {func(string, bool) bool { return true }, 50, 50},
		"nothing is":                   {func(string, bool) bool { return false }, 51, 0},
		"no addresses":                 {func(_ string, address bool) bool { return !address }, 51, 0},
		"half of the clients":          {func(client string, _ bool) bool { return mine(client) }, 52, 25},
		"half of them, and no address": {func(client string, address bool) bool { return mine(client) && !address }, 52, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{endpoint: found, see: c.see}
			client, addresses := s.client(t), 0
			for i := range 50 {
				thing := fmt.Sprintf("%s-%d", []string{"cam", "pi"}[i/25], i)
				state, err := client.Look(t.Context(), thing)
				if (err == nil) != c.see(thing, false) || err == nil && !state.Connected {
					t.Errorf("%s: %+v, %v", thing, state, err)
				}
				if state.Address != "" {
					addresses++
				}
			}
			if s.connections != c.calls || addresses != c.addresses {
				t.Errorf("%d calls, want %d; %d addresses, want %d", s.connections, c.calls, addresses, c.addresses)
			}
		})
	}
}

func TestAFailedLookUpOfTheEndpointIsNotRepeatedForEachThing(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		err    error
		want   []int // calls after 50 looks, and after 50 more when a failure's time is over
	}{
		"refused":    {http.StatusForbidden, nil, []int{1, 1}},
		"no network": {0, errors.New("network is unreachable"), []int{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{endpoint: func() (int, error) { return c.status, c.err }}
			client := s.client(t)
			synctest.Test(t, func(t *testing.T) {
				for _, want := range c.want {
					for range 50 {
						if _, err := client.Look(t.Context(), "pi-1"); err == nil {
							t.Fatal("no error")
						}
					}
					if s.endpoints != want {
						t.Errorf("%d calls, want %d", s.endpoints, want)
					}
					time.Sleep(failureLife)
				}
			})
		})
	}
}

func TestTheEndOfOneCallerIsNoFailureForOthers(t *testing.T) {
	s := &service{endpoint: found, see: func(string, bool) bool { return true }}
	client := s.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.endpoint = func() (int, error) { cancel(); return 0, ctx.Err() }
	if _, err := client.Look(ctx, "pi-1"); err == nil {
		t.Fatal("no error")
	}
	s.endpoint = found
	if _, err := client.Look(t.Context(), "pi-1"); err != nil {
		t.Error(err)
	}
}
