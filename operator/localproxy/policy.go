package localproxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/retry"
	"github.com/culvert-iot/culvert/proxy"
)

// RejectedError says that the service does not accept the token, or no longer does.
type RejectedError struct{ Err error }

func (e *RejectedError) Error() string {
	return fmt.Sprintf("the service rejected the token: %v", e.Err)
}

// Unwrap returns the refusal.
func (e *RejectedError) Unwrap() error { return e.Err }

// Hint returns what to do about it.
func (e *RejectedError) Hint() string {
	return "rotate the tunnel's access tokens, or open a new tunnel"
}

// errClosed is the orderly end of a tunnel.
var errClosed = errors.New("the tunnel was closed")

// policy decides what follows the end of a connection, or of an attempt to make one: the retry rule, and
// what the settings say.
type policy struct {
	retry.Policy

	retries   int  // failed attempts in a row that are allowed; -1: any number
	reconnect bool // after a connection that stood
	failures  int  // in a row
}

// next judges err, the end of an attempt whose connection stood for stood (0: never). It returns how long
// to wait before the next one, or why there is none.
func (p *policy) next(err error, stood time.Duration) (time.Duration, error) {
	if stood > 0 {
		_, p.ClosedByService = errors.AsType[*proxy.CloseError](err)
		p.failures = 0
		p.Opened()
		if !p.reconnect && !p.ClosedByService {
			return 0, fmt.Errorf("the connection was lost, and the settings forbid to make another: %w", err)
		}
		return p.Failed(stood), nil
	}
	refused, ok := errors.AsType[*proxy.HandshakeError](err)
	if ok && !refusalOf(refused).Temporary() {
		switch d := p.Refused(refusalOf(refused), time.Now()); d.End {
		case retry.None:
			return d.Delay, nil
		case retry.TunnelOver:
			return 0, errClosed
		case retry.Refused, retry.Revoked, retry.StillRefused:
		}
		return 0, &RejectedError{err}
	}
	if text := hopeless(err); text != "" && !p.Worked {
		return 0, hint.Wrap(err, text)
	}
	if p.failures++; p.retries >= 0 && p.failures > p.retries {
		return 0, fmt.Errorf("given up after %d failed attempts to connect: %w", p.failures, err)
	}
	if ok {
		return p.Refused(refusalOf(refused), time.Now()).Delay, nil
	}
	return p.Failed(0), nil
}

func refusalOf(e *proxy.HandshakeError) retry.Refusal {
	return retry.Refusal{Status: e.Status, StatusReason: e.StatusReason, Body: e.Body, ChannelID: e.ChannelID, RetryAfter: e.RetryAfter}
}

// hopeless returns what to do about a first connection that failed in a way that waiting does not change;
// "" for others.
func hopeless(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if known := hint.Of(err); known != "" { // this system has no root certificates at all
			return known
		}
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
