package netdial

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/culvert-iot/culvert/internal/secret"
)

// FromEnvironment returns a Dialer that uses the proxy named by https_proxy or HTTPS_PROXY, except for the
// targets listed in no_proxy or NO_PROXY. Lower case wins where both are set, as it does for AWS's local
// proxy and for curl. The environment is read now, at each call, not once in the life of the process.
//
// The value is a URL (http, https, socks5 or socks5h; user:password@ allowed) or host:port, which means
// http. no_proxy is a list of host names (and with them all below), .suffixes, addresses, CIDR blocks, each
// with :port if wanted, or "*". localhost and loopback addresses never go through a proxy.
//
// A value that is no URL fails each dial that would need it. It never leads to a direct connection, which a
// firewall would drop without a word.
func FromEnvironment() *Dialer {
	variable, value := firstSet("https_proxy", "HTTPS_PROXY")
	if value == "" {
		return &Dialer{}
	}
	_, exceptions := firstSet("no_proxy", "NO_PROXY")
	_, err := parseProxy(value)
	if err != nil {
		err = fmt.Errorf("%s: %w", variable, err)
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

// parseProxy reads a proxy's URL. Its errors do not repeat the value, which may hold a password.
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
