package iotsecuretunneling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// maxBody limits a response. A full page of tunnels with the longest descriptions is well below.
const maxBody = 8 << 20

// decodeOutput reads a successful response into an output structure. Unknown members are ignored (AWS JSON 1.1).
func decodeOutput(body []byte, out any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	err := json.Unmarshal(body, out)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		err = fmt.Errorf("the response's member %s is a %s, not a %s", strings.ReplaceAll(e.Field, "plain.", ""), e.Value, e.Type)
	} else {
		err = fmt.Errorf("the response is not JSON: %w", err)
	}
	return &smithy.DeserializationError{Err: err}
}

// decodeError makes a typed error of a failed response. The error's type decides, never the status, which differs
// between documents and services: __type in the body, without its name space, else the header x-amzn-ErrorType.
func decodeError(resp *smithyhttp.Response, body []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"` // encoding/json accepts "Message" too
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
		// A web proxy or a load balancer answered, not the service.
		code = "UnknownError"
		if !isJSON || message == "" {
			message = fmt.Sprintf("the response is not an error of the service: HTTP status %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
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
		return nil, fmt.Errorf("read the response: %w", err)
	}
	if len(body) > maxBody {
		return nil, &smithy.DeserializationError{Err: errors.New("the response is too large")}
	}
	return body, nil
}
