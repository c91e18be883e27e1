package doctor

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// caught is an HTTP client that sends nothing.
type caught func(*http.Request) (*http.Response, error)

func (c caught) Do(r *http.Request) (*http.Response, error) { return c(r) }

func answered(status int, body string) (*http.Response, error) {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader([]byte(body))),
	}, nil
}

// silent waits until the caller gives up.
func silent(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// asking is a configuration whose calls go to answer, with a data endpoint that is there.
func asking(answer caught) Config {
	return Config{
		Thing: "pi-1", DataEndpoint: "data:443", Dial: func(context.Context) (Reached, error) { return Reached{}, nil },
		AWS: aws.Config{
			Region: "eu-west-1", BaseEndpoint: aws.String("https://iot.example"), HTTPClient: answer, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider("any", "thing", ""),
		},
	}
}

// line returns the first result with an id.
func line(t *testing.T, r Report, id string) Result {
	t.Helper()
	for _, result := range r.Results {
		if result.ID == id {
			return result
		}
	}
	t.Fatalf("no %s in %+v", id, r.Results)
	return Result{}
}

func TestNothingIsJudgedWithoutTime(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	cfg := asking(func(r *http.Request) (*http.Response, error) {
		t.Errorf("called %s", r.URL)
		return silent(r)
	})
	cfg.Dial = func(ctx context.Context) (Reached, error) {
		t.Error("dialled")
		return Reached{}, ctx.Err()
	}
	report := Run(ctx, cfg)
	for _, id := range []string{"credentials", "data_endpoint"} {
		if r := line(t, report, id); r.Status != Skipped || !strings.Contains(r.Text, "time ran out") {
			t.Errorf("%+v", r)
		}
	}
	if !report.Well {
		t.Errorf("%+v", report.Results)
	}
}

func TestSilentHostsAreNamedAndLeaveTimeForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cfg := asking(silent)
		cfg.STS = cfg.AWS
		cfg.STS.BaseEndpoint = aws.String("https://sts.example:8443")
		dialled := time.Duration(0)
		cfg.Dial = func(ctx context.Context) (Reached, error) {
			end, _ := ctx.Deadline()
			dialled = time.Until(end)
			return Reached{}, nil
		}
		report := Run(ctx, cfg)
		for id, host := range map[string]string{"credentials": "sts.example:8443", "thing": "iot.example", "connection": "iot.example", "tunnels": "iot.example"} {
			r := line(t, report, id)
			if r.Status != Failed || !strings.HasPrefix(r.Text, host+" did not answer within ") || !strings.Contains(r.Remedy, "network") {
				t.Errorf("%+v", r)
			}
		}
		if r := line(t, report, "permissions"); r.Status != Skipped {
			t.Errorf("%+v", r)
		}
		if r := line(t, report, "data_endpoint"); r.Status != OK || dialled < 5*time.Second {
			t.Errorf("%+v, with %v left", r, dialled)
		}
	})
}

func TestASilentDataEndpointIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cfg := asking(func(*http.Request) (*http.Response, error) { return answered(http.StatusForbidden, "{}") })
		cfg.Dial = func(ctx context.Context) (Reached, error) {
			<-ctx.Done()
			return Reached{}, ctx.Err()
		}
		if r := line(t, Run(ctx, cfg), "data_endpoint"); r.Status != Failed || r.Text != "data:443 did not answer within 10s" {
			t.Errorf("%+v", r)
		}
	})
}

// keys are credentials that take their time.
type keys struct{ take time.Duration }

func (k keys) Retrieve(ctx context.Context) (aws.Credentials, error) {
	select {
	case <-time.After(k.take):
		return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "thing"}, nil
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
}

func TestCredentialsThatTakeTooLongAreNotAHostsFault(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		status  Status
		text    string
	}{
		"enough time": {20 * time.Second, Failed, "no answer within 10s"},
		"hardly any":  {time.Second, Skipped, "unknown: the time ran out"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
				defer cancel()
				cfg := asking(silent)
				cfg.AWS.Credentials = keys{time.Hour}
				report := Run(ctx, cfg)
				if r := line(t, report, "credentials"); r.Status != tt.status || r.Text != tt.text {
					t.Errorf("%+v", r)
				}
				if r := line(t, report, "data_endpoint"); r.Status != OK {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// A service that refuses for the moment is no silent one.
func TestAHostThatAnswersIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cfg := asking(func(*http.Request) (*http.Response, error) { return answered(http.StatusServiceUnavailable, "{}") })
		cfg.AWS.RetryMaxAttempts = 1000
		if r := line(t, Run(ctx, cfg), "thing"); r.Status != Skipped || !strings.Contains(r.Text, "iot.example answers") {
			t.Errorf("%+v", r)
		}
	})
}

func TestAnInterruptedRunBlamesNoHost(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := asking(func(r *http.Request) (*http.Response, error) {
		cancel()
		return silent(r)
	})
	cfg.Dial = func(context.Context) (Reached, error) {
		t.Error("dialled")
		return Reached{}, nil
	}
	if report := Run(ctx, cfg); !report.Well {
		t.Errorf("%+v", report.Results)
	}
}
