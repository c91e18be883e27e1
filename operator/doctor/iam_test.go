package doctor

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

func TestTheConfigurationSaysHowOftenIAMIsAsked(t *testing.T) {
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_IAM", server.URL)
	c := newIAM(aws.Config{
		RetryMaxAttempts: 1, HTTPClient: http.DefaultClient, Credentials: credentials.NewStaticCredentialsProvider("any", "thing", ""),
	}, "aws")
	if _, err := c.roleARN(t.Context(), "role"); err == nil {
		t.Error("the call succeeded")
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the call was sent %d times", n)
	}
}
