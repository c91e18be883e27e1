package localproxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/proxy"
)

// RejectedError is the end of a token by the service's word.
type RejectedError struct{ Err error }

func (e *RejectedError) Error() string {
	return fmt.Sprintf("the service rejected the token: %v: rotate the tunnel's access tokens, or open a new tunnel", e.Err)
}

// Unwrap returns the refusal.
func (e *RejectedError) Unwrap() error { return e.Err }

// errClosed is the orderly end of a tunnel.
var errClosed = errors.New("the tunnel was closed")

// stoodLongEnough is how long a connection must have stood before the delays start over. A service that accepts
// and drops at once must see them grow.
const stoodLongEnough = 30 * time.Second

// A refusal of a pair that has worked may only mean that the service still holds a connection whose network was
// lost: two with one token cannot stand together (V3 protocol guide), and the service's idle limit is 60 s. So the
// tries are slow, and the last one comes more than a minute after the first refusal.
var refusalDelays = [...]struct{ least, most time.Duration }{
	{5 * time.Second, 10 * time.Second},
	{20 * time.Second, 30 * time.Second},
	{40 * time.Second, 50 * time.Second},
}

// policy decides what follows the end of a connection, or of an attempt to make one.
type policy struct {
	backoff   backoff.Backoff
	retries   int  // failed connects in a row that are borne; -1: any number
	reconnect bool // after a connection that stood

	worked   bool // the pair of tokens has connected
	closed   bool // the service itself ended the latest connection
	failures int  // in a row
	refusals int  // in a row, of a pair that has worked
}

// next judges err, the end of an attempt whose connection stood for stood (0: never): it returns how long to wait
// before the next one, or why there is none.
func (p *policy) next(err error, stood time.Duration) (time.Duration, error) {
	if stood > 0 {
		_, p.closed = errors.AsType[*proxy.CloseError](err)
		p.worked, p.failures, p.refusals = true, 0, 0
		if stood >= stoodLongEnough {
			p.backoff.Reset()
		}
		if !p.reconnect && !p.closed {
			return 0, fmt.Errorf("the connection was lost, and the settings forbid to make another: %w", err)
		}
		return p.backoff.Next(0), nil
	}
	refused, ok := errors.AsType[*proxy.HandshakeError](err)
	if ok && final(refused.Status) {
		return p.refused(refused)
	}
	if hint := hopeless(err); hint != "" && !p.worked {
		return 0, fmt.Errorf("%w: %s", err, hint)
	}
	if p.failures++; p.retries >= 0 && p.failures > p.retries {
		return 0, fmt.Errorf("given up after %d failed connects: %w", p.failures, err)
	}
	if ok {
		return p.backoff.Next(refused.RetryAfter), nil
	}
	return p.backoff.Next(0), nil
}

// refused applies the protocol guide's rule that a 4xx is final, and its one narrow exception.
func (p *policy) refused(err *proxy.HandshakeError) (time.Duration, error) {
	said := err.StatusReason + err.Body
	switch word := finalWord(err.StatusReason + " " + err.Body); {
	case !p.worked, word == gone:
		return 0, &RejectedError{err}
	case word == over, p.closed && said == "":
		// Without a word, after the service closed the websocket of a good token, nothing else has happened.
		return 0, errClosed
	case p.closed, p.refusals >= len(refusalDelays):
		return 0, &RejectedError{err}
	}
	bounds := refusalDelays[p.refusals]
	p.refusals++
	delay := bounds.least + rand.N(bounds.most-bounds.least) //nolint:gosec // jitter
	return max(delay, min(err.RetryAfter, bounds.most)), nil
}

// final tells whether a handshake's status ends a token: all of 4xx (V3 protocol guide), but for 429, which is
// about the moment and not about the token.
func final(status int) bool {
	return status >= 400 && status <= 499 && status != http.StatusTooManyRequests
}

// What the words of a refusal can tell.
const (
	over = "over" // the tunnel has ended
	gone = "gone" // the token has
)

var finalWords = map[string]string{
	"closed": over, "expired": over, "deleted": over,
	"revoked": gone, "rotated": gone, "used": gone,
}

func finalWord(text string) string {
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) }) {
		if what := finalWords[word]; what != "" {
			return what
		}
	}
	return ""
}

// hopeless tells what to do about a first connection that failed in a way that waiting does not change; "" for the
// others.
func hopeless(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name its root certificate with -c, or correct the endpoint"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "correct the endpoint (-e): it must be a name that the certificate has"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the endpoint does not speak TLS: correct its port"
	}
	if p, ok := errors.AsType[*netdial.ProxyError](err); ok && p.Status == http.StatusProxyAuthRequired {
		return "put the user name and the password into https_proxy"
	}
	return ""
}
