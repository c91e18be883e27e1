package netdial

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// ProxyError tells that a proxy, not the target, is why there is no connection. No field holds a password.
type ProxyError struct {
	Proxy    string // scheme://host:port, without user and password
	Variable string // the environment variable that named it; "" if it came from elsewhere
	Target   string // host:port that was asked for
	Status   int    // of an HTTP proxy's answer; 0 if there was none
	Reason   string // what happened, in the proxy's words where it had some
	Remedy   string // what to do about it
	Err      error  // the cause, if there is one: a network, TLS or context error
}

// Error is one line: the proxy, the target, what happened, what to do.
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
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *ProxyError) Unwrap() error { return e.Err }

// Timeout tells whether the proxy was too slow; it makes a ProxyError a net.Error.
func (e *ProxyError) Timeout() bool {
	t, ok := e.Err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// Temporary is part of net.Error. It says no more than Timeout.
func (e *ProxyError) Temporary() bool { return e.Timeout() }

func (d *Dialer) proxyError(proxy *url.URL, target, reason, remedy string, err error) *ProxyError {
	return &ProxyError{
		Proxy: proxy.Scheme + "://" + proxy.Host, Variable: d.variable, Target: target,
		Reason: reason, Remedy: remedy, Err: err,
	}
}

// settings names where the proxy comes from, for remedies.
func (d *Dialer) settings() string {
	if d.variable == "" {
		return "the proxy's URL"
	}
	return d.variable
}

// causeOf prefers the context's story to the I/O error that its end provoked. A deadline on a connection is
// always the context's, and may strike a moment before it.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
