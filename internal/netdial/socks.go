package netdial

import (
	"context"
	"errors"
	"net"
	"net/url"

	"golang.org/x/net/proxy"
)

// dialSOCKS goes through a SOCKS 5 proxy (RFC 1928, RFC 1929). The proxy resolves the target's name, for
// socks5:// as well as for socks5h://.
func (d *Dialer) dialSOCKS(ctx context.Context, address string, socks *url.URL) (net.Conn, error) {
	hop := &firstHop{dial: d.dial, proxy: socks}
	dialer, err := proxy.FromURL(socks, hop)
	if err != nil {
		return nil, d.proxyError(socks, address, "cannot use the proxy", "check "+d.settings(), err)
	}
	conn, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	if err != nil {
		reason, advice := "the proxy did not connect", "check user and password in "+d.settings()+", and that the proxy may reach the target"
		if !hop.done {
			reason, advice = "cannot connect to the proxy", "check "+d.settings()+" and that the proxy runs, or list the target in no_proxy"
		}
		// The outer error repeats both addresses.
		var op *net.OpError
		if errors.As(err, &op) && op.Err != nil {
			err = op.Err
		}
		return nil, d.proxyError(socks, address, reason, advice, causeOf(ctx, err))
	}
	return conn, nil
}

// firstHop dials the proxy for package proxy and remembers whether that worked.
type firstHop struct {
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	proxy *url.URL
	done  bool
}

// Dial is what package proxy asks for and never calls.
func (h *firstHop) Dial(network, address string) (net.Conn, error) {
	return h.DialContext(context.Background(), network, address)
}

// DialContext connects to the proxy.
func (h *firstHop) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := h.dial(ctx, "tcp", proxyAddress(h.proxy))
	h.done = err == nil
	return conn, err
}
