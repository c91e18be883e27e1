package netdial

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/secret"
)

// FromEnvironment returns a Dialer that uses the proxy named by https_proxy or HTTPS_PROXY, except for
// the targets in no_proxy or NO_PROXY. Lower case wins where both are set, as in curl and AWS's local
// proxy. Each call reads the environment.
//
// The proxy is a URL (http, https, socks5 or socks5h; user:password@ allowed) or host:port, which
// means http. no_proxy lists host names (which include their subdomains), .suffixes, addresses and
// CIDR blocks, each with an optional :port, or "*". Loopback targets never use a proxy.
//
// A value that is not a URL fails each dial that needs it, with a hint. It never leads to a direct
// connection, which a firewall would silently drop.
func FromEnvironment() *Dialer {
	variable, value := firstSet("https_proxy", "HTTPS_PROXY")
	if value == "" {
		return &Dialer{}
	}
	_, exceptions := firstSet("no_proxy", "NO_PROXY")
	_, err := parseProxy(value)
	if err != nil {
		err = hint.Wrap(fmt.Errorf("%s: %w", variable, err), "correct or unset "+variable)
	}
	direct := parseExceptions(exceptions)
	kept := secret.New(value) // it may hold a password
	return &Dialer{
		variable: variable,
		Proxy: func(target *url.URL) (*url.URL, error) {
			if direct.covers(target.Hostname(), target.Port()) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return parseProxy(kept.Reveal())
		},
	}
}

func firstSet(names ...string) (name, value string) {
	for _, name := range names {
		if v := strings.TrimSpace(os.Getenv(name)); v != "" {
			return name, v
		}
	}
	return "", ""
}

// parseProxy parses a proxy's URL. Its errors do not quote the value, which may hold a password.
func parseProxy(value string) (*url.URL, error) {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("not a proxy URL such as http://user:password@host:3128 (special characters in a password are written %XX)")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	return u, nil
}
