package netdial

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

const (
	// dialLimit bounds one DialContext whose context has no earlier deadline: name, TCP, the proxy's
	// TLS and its answer. A proxy may accept and then say nothing.
	dialLimit = time.Minute

	// userTimeout is how long sent bytes may stay unacknowledged before the kernel drops the
	// connection. Linux's default is about 15 minutes, during which writes to a vanished peer succeed.
	userTimeout = time.Minute

	// notsentLowat bounds the bytes in the kernel's send buffer that TCP has not sent yet. They can no
	// longer be reordered, and by default there may be 4 MB of them.
	notsentLowat = 128 << 10
)

// Dialer opens TCP connections, through a proxy where Proxy names one. The zero value dials directly.
// It is safe for concurrent use while its fields do not change.
type Dialer struct {
	// Proxy returns the proxy for a target, or nil for a direct connection. The target is given as
	// https://host:port, whatever is spoken there. A nil Proxy dials everything directly.
	// Schemes: http, https, socks5, socks5h.
	Proxy func(*url.URL) (*url.URL, error)

	// Dial opens a TCP connection to the target or the proxy. nil means a net.Dialer with keep-alive
	// probes, TCP_NODELAY and, on Linux, TCP_USER_TIMEOUT of 60 s and TCP_NOTSENT_LOWAT of 128 KiB.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// RootCAs verify an https:// proxy's certificate; nil means the system's.
	RootCAs *x509.CertPool

	// Time is when an https:// proxy's certificate must be valid; nil means the clock's time. A device may know
	// better than a clock that starts in 1970.
	Time func() time.Time

	// variable is the environment variable that named the proxy, for errors; "" if there was none.
	variable string
}

// DialContext connects to address (host:port) within a minute or until ctx ends. The connection does
// not depend on ctx afterwards. A proxy's failure is a [*ProxyError]. Networks other than TCP are
// always dialled directly.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialLimit, errTooSlow)
	defer cancel()
	proxy, err := d.proxyFor(network, address)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return d.dial(ctx, network, address)
	}
	switch proxy.Scheme {
	case "http", "https":
		return d.dialConnect(ctx, address, proxy)
	case "socks5", "socks5h":
		return d.dialSOCKS(ctx, address, proxy)
	default:
		return nil, d.proxyError(proxy, address, fmt.Sprintf("proxies of scheme %q are not supported", proxy.Scheme),
			"use an http://, https:// or socks5:// one", nil)
	}
}

var errTooSlow = fmt.Errorf("no connection within %v: %w", dialLimit, context.DeadlineExceeded)

// Via returns the proxy that a TCP connection to address (host:port) would use, as
// scheme://host:port without user and password, and the environment variable that names it. Both are
// "" for a direct connection. It fails if the proxy's URL cannot be parsed.
func (d *Dialer) Via(address string) (proxy, variable string, err error) {
	u, err := d.proxyFor("tcp", address)
	if err != nil || u == nil {
		return "", "", err
	}
	return u.Scheme + "://" + u.Host, d.variable, nil
}

func (d *Dialer) proxyFor(network, address string) (*url.URL, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, nil
	}
	if d.Proxy == nil {
		return nil, nil
	}
	if err := checkTarget(address); err != nil {
		return nil, err
	}
	proxy, err := d.Proxy(&url.URL{Scheme: "https", Host: address})
	if err != nil {
		return nil, fmt.Errorf("choose a proxy for %s: %w", address, err)
	}
	return proxy, nil
}

// checkTarget keeps the proxy request on one line: the host may come from a notification.
func checkTarget(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: %w", address, err)
	}
	if host == "" || port == "" {
		return fmt.Errorf("dial %q: host or port is missing", address)
	}
	for i := range len(address) {
		if address[i] <= ' ' || address[i] >= 0x7f {
			return fmt.Errorf("dial %q: not a host and port", address)
		}
	}
	return nil
}

func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d.Dial != nil {
		return d.Dial(ctx, network, address)
	}
	nd := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
		Control:         setOptions,
	}
	conn, err := nd.DialContext(ctx, network, address)
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	return conn, err
}
