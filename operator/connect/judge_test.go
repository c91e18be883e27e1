package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func TestWhichErrorsOfASearchMayPass(t *testing.T) {
	answer := func(status int, code string) error {
		return &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: &smithy.GenericAPIError{Code: code},
		}
	}
	network := &url.Error{Op: "Post", URL: "https://api.example.com", Err: &net.OpError{Op: "dial", Err: errors.New("network is unreachable")}}
	for _, tt := range []struct {
		name string
		err  error
		pass bool
	}{
		{"no network", &smithy.OperationError{Err: network}, true},
		{"no answer in time", fmt.Errorf("describe: %w", context.DeadlineExceeded), true},
		{"a lost answer", fmt.Errorf("read the response: %w", io.ErrUnexpectedEOF), true},
		{"half an answer", &smithy.DeserializationError{Err: errors.New("not JSON")}, true},
		{"the service fails", answer(500, "InternalFailureException"), true},
		{"too many calls", answer(400, "ThrottlingException"), true},
		{"another server answered", answer(403, "UnknownError"), true},
		{"forbidden", answer(400, "AccessDeniedException"), false},
		{"a quota", answer(400, "LimitExceededException"), false},
		{"no such thing", &Error{Reason: DeviceAbsent, Text: "there is no thing pi-9"}, false},
		{"no credentials", errors.New("get credentials: there are none"), false},
	} {
		p := searchPolicy()
		if delay, pass := judge(&p, tt.err, time.Now()); pass != tt.pass || pass && (delay <= 0 || delay > maxDelay) {
			t.Errorf("%s: again %v, after %v; want %v", tt.name, pass, delay, tt.pass)
		}
	}
}
