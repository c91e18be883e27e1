package iotsecuretunneling

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// outputs are what answers are read into, one of each operation.
var outputs = []func() any{
	func() any { return new(OpenTunnelOutput) },
	func() any { return new(RotateTunnelAccessTokenOutput) },
	func() any { return new(CloseTunnelOutput) },
	func() any { return new(DescribeTunnelOutput) },
	func() any { return new(ListTunnelsOutput) },
	func() any { return new(ListTagsForResourceOutput) },
}

// FuzzAnswer: whatever answers in the service's place, reading it ends with a value whose times can be shown or with an
// error that says so, and never panics.
func FuzzAnswer(f *testing.F) {
	tunnel := `{"tunnelId":"t","tunnelArn":"a","createdAt":1.5e9,"lastUpdatedAt":-1,"status":"OPEN","description":null}`
	for operation, body := range []string{
		`{"tunnelId":"t","tunnelArn":"a","sourceAccessToken":"s","destinationAccessToken":"d","new":[1]}`,
		`{"tunnelArn":"a","sourceAccessToken":"s"}`,
		``,
		`{"tunnel":` + strings.TrimSuffix(tunnel, "}") + `,"tags":[{"key":"k","value":""}],"destinationConfig":{"thingName":"p","services":["SSH"]},` +
			`"sourceConnectionState":{"status":"CONNECTED","lastUpdatedAt":1e10},"timeoutConfig":{"maxLifetimeTimeoutMinutes":720}}}`,
		`{"tunnelSummaries":[` + tunnel + `,` + tunnel + `],"nextToken":"n"}`,
		`{"tags":[{"key":"k","value":"v"},{}]}`,
	} {
		f.Add(byte(operation), uint16(http.StatusOK), "", []byte(body))
	}
	f.Add(byte(3), uint16(http.StatusOK), "", []byte(`{"tunnel":{"createdAt":1e300}}`))
	f.Add(byte(3), uint16(http.StatusOK), "", []byte(`{"tunnel":{"createdAt":"now"}}`))
	f.Add(byte(3), uint16(http.StatusOK), "", []byte(`{"tunnel":{"timeoutConfig":{"maxLifetimeTimeoutMinutes":1.5}}}`))
	f.Add(byte(3), uint16(http.StatusOK), "", []byte(`{"tunnel":[]}`))
	f.Add(byte(4), uint16(http.StatusOK), "", []byte(`{"tunnelSummaries":{}}`))
	f.Add(byte(0), uint16(http.StatusOK), "", []byte(`<html>`))
	f.Add(byte(0), uint16(http.StatusBadRequest), "", []byte(`{"__type":"com.amazonaws.iot#LimitExceededException:http://x/","message":"m"}`))
	f.Add(byte(0), uint16(http.StatusNotFound), "ResourceNotFoundException:", []byte(`{"Message":"m"}`))
	f.Add(byte(0), uint16(http.StatusBadGateway), "", []byte(`<html>`))
	f.Fuzz(func(t *testing.T, operation byte, status uint16, errorType string, body []byte) {
		if status < 200 || status > 299 {
			resp := &smithyhttp.Response{Response: &http.Response{StatusCode: int(status), Header: http.Header{}}}
			resp.Header.Set("X-Amzn-Errortype", errorType)
			err := decodeError(resp, body)
			api, ok := errors.AsType[smithy.APIError](err)
			if !ok || api.ErrorCode() == "" || strings.ContainsAny(api.ErrorCode(), "#:") {
				t.Errorf("%d %q became %v", status, body, err)
			}
			return
		}
		out := outputs[int(operation)%len(outputs)]()
		if err := decodeOutput(body, out); err != nil {
			if _, ok := errors.AsType[*smithy.DeserializationError](err); !ok {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		eachTime(reflect.ValueOf(out), func(at time.Time) {
			if _, err := at.MarshalJSON(); err != nil {
				t.Errorf("a time that cannot be shown: %v", err)
			}
		})
	})
}

// eachTime calls do for every time in v.
func eachTime(v reflect.Value, do func(time.Time)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachTime(v.Elem(), do)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachTime(v.Index(i), do)
		}
	case reflect.Struct:
		if at, ok := reflect.TypeAssert[time.Time](v); ok {
			do(at)
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				eachTime(v.Field(i), do)
			}
		}
	default:
	}
}
