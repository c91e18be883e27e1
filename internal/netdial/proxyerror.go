package netdial

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/culvert-iot/culvert/internal/clean"
)

// A ProxyError says that the proxy, not the target, is why there is no connection. No field holds a
// password. Its advice is for hint.Of.
type ProxyError struct {
	Proxy    string // scheme://host:port, without user and password
	Variable string // the environment variable that named it; "" if none did
	Target   string // host:port that was asked for
	Status   int    // HTTP status of the proxy's answer; 0 if there was none
	Reason   string // what happened, in the proxy's words if it gave any
	Err      error  // the cause, if there is one: a network, TLS or context error

	hint string
}

// Error is one printable line: the proxy, the target and what happened.
func (e *ProxyError) Error() string {
	var b strings.Builder
	b.WriteString("proxy " + e.Proxy)
	if e.Variable != "" {
		b.WriteString(" (from " + e.Variable + ")")
	}
	b.WriteString(" for " + e.Target + ": ")
	if e.Status != 0 {
		b.WriteString(strconv.Itoa(e.Status) + " ")
	}
	b.WriteString(e.Reason)
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return clean.Line(b.String(), 0) // the cause may quote the proxy's certificate
}

// Hint says what to do about it; it may be empty.
func (e *ProxyError) Hint() string { return e.hint }

// Unwrap returns the cause.
func (e *ProxyError) Unwrap() error { return e.Err }

// Timeout reports whether the proxy was too slow. It makes a ProxyError a [net.Error].
func (e *ProxyError) Timeout() bool {
	t, ok := e.Err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// Temporary is part of [net.Error] and the same as Timeout.
func (e *ProxyError) Temporary() bool { return e.Timeout() }

func (d *Dialer) proxyError(proxy *url.URL, target, reason, hint string, err error) *ProxyError {
	return &ProxyError{
		Proxy: proxy.Scheme + "://" + proxy.Host, Variable: d.variable, Target: target,
		Reason: reason, hint: hint, Err: err,
	}
}

// settings names the place where the proxy is configured, for hints.
func (d *Dialer) settings() string {
	if d.variable == "" {
		return "the proxy's URL"
	}
	return d.variable
}

// causeOf prefers the context's cause to the I/O error that its end provoked. A connection's deadline
// is the context's and may strike a moment earlier.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
