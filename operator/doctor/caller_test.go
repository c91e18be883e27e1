package doctor

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestClocksThatAreOffAreTold(t *testing.T) {
	const (
		caller  = `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:root</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`
		expired = `<ErrorResponse><Error><Code>RequestExpired</Code><Message>Request has expired</Message></Error></ErrorResponse>`
	)
	for name, tt := range map[string]struct {
		off    time.Duration
		status int
		body   string
		want   Status
		words  string
	}{
		"right":              {0, http.StatusOK, caller, OK, "as AWS's"},
		"off":                {-time.Minute, http.StatusOK, caller, Warning, "1m0s off AWS's"},
		"far off":            {time.Hour, http.StatusOK, caller, Failed, "1h0m0s off AWS's"},
		"too far for a call": {time.Hour, http.StatusForbidden, expired, Failed, "AWS refuses the signature's time"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := asking((&account{}).serve)
				cfg.STS = cfg.AWS
				cfg.STS.HTTPClient = caught(func(*http.Request) (*http.Response, error) {
					date := time.Now().Add(tt.off).UTC().Format(http.TimeFormat)
					return &http.Response{
						StatusCode: tt.status, Header: http.Header{"Date": {date}, "Content-Type": {"text/xml"}}, Body: io.NopCloser(bytes.NewReader([]byte(tt.body))),
					}, nil
				})
				if report := Run(t.Context(), cfg); !told(report, "clock", tt.want, tt.words) {
					t.Errorf("%+v", report.Results)
				}
			})
		})
	}
}

func TestAPingThatHasNoTimeIsNotSent(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	d := newDoctor(asking(func(r *http.Request) (*http.Response, error) {
		t.Errorf("called %s", r.URL)
		return silent(r)
	}))
	d.state.Connected = true
	d.step(ctx, "answer", half, d.answer)
	if !told(Report{Results: d.results}, "answer", Skipped, "not enough time") {
		t.Errorf("%+v", d.results)
	}
}

func TestCallsWithoutCredentialsNeedNone(t *testing.T) {
	cfg := asking((&account{}).serve)
	cfg.AWS.Credentials = aws.AnonymousCredentials{}
	if report := Run(t.Context(), cfg); !told(report, "thing", OK, "exists") {
		t.Errorf("%+v", report.Results)
	}
}
