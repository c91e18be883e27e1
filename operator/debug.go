package operator

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/secret"
)

// debugClient logs the control API's calls, without tokens and credentials.
type debugClient struct {
	next aws.HTTPClient
	log  *slog.Logger
}

// maxShown limits how much of a body is logged.
const maxShown = 64 << 10

func (c *debugClient) Do(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil { // small, and in memory already
			return nil, fmt.Errorf("read the request: %w", err)
		}
		r.Body = &readAgain{Reader: bytes.NewReader(sent), Closer: r.Body}
	}
	c.log.Debug("request", "endpoint", r.URL.String(), "target", r.Header.Get("X-Amz-Target"), "headers", shownHeaders(r.Header), "body", withoutTokens(sent))
	resp, err := c.next.Do(r)
	if err != nil {
		c.log.Debug("no response", "error", err)
		return resp, err
	}
	// Read the body here: one line of the log is one response. The client reads it again.
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxShown))
	c.log.Debug("response", "status", resp.StatusCode, "headers", shownHeaders(resp.Header), "body", withoutTokens(text))
	resp.Body = &readAgain{Reader: io.MultiReader(bytes.NewReader(text), failing(err), resp.Body), Closer: resp.Body}
	return resp, nil
}

type readAgain struct {
	io.Reader
	io.Closer
}

// failing returns a reader that fails with err. Without one, it is empty.
func failing(err error) io.Reader {
	if err == nil {
		return bytes.NewReader(nil)
	}
	r, w := io.Pipe()
	_ = w.CloseWithError(err)
	return r
}

var hiddenHeaders = map[string]bool{"Authorization": true, "X-Amz-Security-Token": true, "Proxy-Authorization": true, "Set-Cookie": true}

func shownHeaders(h http.Header) string {
	shown := h.Clone()
	for name := range shown {
		if hiddenHeaders[name] {
			shown[name] = []string{"(hidden)"}
		}
	}
	var b bytes.Buffer
	_ = shown.Write(&b) // never fails, and sorts
	return string(bytes.ReplaceAll(bytes.TrimSpace(b.Bytes()), []byte("\r\n"), []byte("; ")))
}

// tokenMember finds tokens even in incomplete JSON.
var tokenMember = regexp.MustCompile(`("[a-zA-Z]*AccessToken"\s*:\s*")([^"]*)("?)`)

func withoutTokens(body []byte) string {
	return string(tokenMember.ReplaceAllFunc(body, func(m []byte) []byte {
		parts := tokenMember.FindSubmatch(m)
		return fmt.Appendf(nil, `%s(token %s)%s`, parts[1], secret.New(string(parts[2])).ID(), parts[3])
	}))
}
