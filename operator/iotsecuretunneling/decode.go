package iotsecuretunneling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// maxBody bounds an answer: a full page of tunnels with the longest descriptions is well below.
const maxBody = 8 << 20

// decodeOutput reads a good answer into an output structure. Members are told by the structure's field names with a
// small first letter; unknown ones are ignored (AWS JSON 1.1).
func decodeOutput(body []byte, out any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return &smithy.DeserializationError{Err: fmt.Errorf("the answer is no JSON: %w", err)}
	}
	if err := assign(reflect.ValueOf(out).Elem(), v, ""); err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	return nil
}

var timeType = reflect.TypeFor[time.Time]()

// assign copies a JSON value into a Go one. It exists for the time stamps, which are numbers on the wire.
func assign(to reflect.Value, v any, path string) error {
	wrong := func(want string) error { return fmt.Errorf("the answer's member %s is no %s", path, want) }
	if v == nil {
		return nil
	}
	if to.Type() == timeType {
		seconds, ok := v.(float64)
		if !ok || math.Abs(seconds) > 1e11 { // the year 5138: what is beyond would overflow
			return wrong("time stamp")
		}
		to.Set(reflect.ValueOf(time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()))
		return nil
	}
	switch to.Kind() {
	case reflect.Pointer:
		p := reflect.New(to.Type().Elem())
		if err := assign(p.Elem(), v, path); err != nil {
			return err
		}
		to.Set(p)
	case reflect.String:
		s, ok := v.(string)
		if !ok {
			return wrong("string")
		}
		to.SetString(s)
	case reflect.Int32:
		n, ok := v.(float64)
		if !ok || n != math.Trunc(n) || math.Abs(n) > math.MaxInt32 {
			return wrong("integer")
		}
		to.SetInt(int64(n))
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return wrong("list")
		}
		s := reflect.MakeSlice(to.Type(), len(list), len(list))
		for i, e := range list {
			if err := assign(s.Index(i), e, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		to.Set(s)
	case reflect.Struct:
		members, ok := v.(map[string]any)
		if !ok {
			return wrong("object")
		}
		for i := range to.NumField() {
			f := to.Type().Field(i)
			if f.Tag.Get("json") == "-" {
				continue
			}
			name := strings.ToLower(f.Name[:1]) + f.Name[1:]
			if err := assign(to.Field(i), members[name], strings.TrimPrefix(path+"."+name, ".")); err != nil {
				return err
			}
		}
	default:
		panic("no such kind in the API: " + to.Kind().String())
	}
	return nil
}

// decodeError makes a typed error of a bad answer. The type decides, never the status, which differs between
// documents and services: __type of the body, without name space, else the header x-amzn-ErrorType.
func decodeError(resp *smithyhttp.Response, body []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"` // encoding/json takes "Message", too
	}
	isJSON := json.Unmarshal(body, &e) == nil
	code := errorCode(e.Type)
	for _, other := range []string{resp.Header.Get("X-Amzn-Errortype"), e.Code} {
		if code == "" {
			code = errorCode(other)
		}
	}
	message := e.Message
	if code == "" {
		// Something that is not the service answered, such as a web proxy or a load balancer.
		code = "UnknownError"
		if !isJSON || message == "" {
			message = fmt.Sprintf("the answer is no error of the service: HTTP status %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		}
	}
	switch code {
	case "LimitExceededException":
		return &types.LimitExceededException{Message: &message}
	case "ResourceNotFoundException":
		return &types.ResourceNotFoundException{Message: &message}
	}
	fault := smithy.FaultClient
	if resp.StatusCode >= http.StatusInternalServerError {
		fault = smithy.FaultServer
	}
	return &smithy.GenericAPIError{Code: code, Message: message, Fault: fault}
}

// errorCode takes the bare type out of "name.space#Type:http://address/".
func errorCode(s string) string {
	s, _, _ = strings.Cut(s, ":")
	if i := strings.LastIndexByte(s, '#'); i >= 0 {
		s = s[i+1:]
	}
	return strings.TrimSpace(s)
}

func readBody(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxBody {
		return nil, &smithy.DeserializationError{Err: errors.New("the answer is too large")}
	}
	return body, nil
}
