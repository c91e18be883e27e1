package netdial

import (
	"net"
	"net/url"
	"testing"

	"golang.org/x/net/http/httpproxy"
)

// TestExceptionsAreThoseOfOtherPrograms compares with the library that Go's own HTTP client has.
func TestExceptionsAreThoseOfOtherPrograms(t *testing.T) {
	lists := []string{
		"", "*", " * ", "a.example", "A.Example", "a.example,b.example", " a.example , ,b.example", ".a.example", "*.a.example", "example", "ample",
		"a.example:443", "a.example:8883", ".a.example:443", "192.0.2.1", "192.0.2.1:443", "192.0.2.1:80", "192.0.2.0/24", "192.0.2.0/33", "0.0.0.0/0",
		"2001:db8::1", "[2001:db8::1]:443", "[2001:db8::1]:80", "2001:db8::/32", "x,*", "*,x", "localhost", "a.example:", ":443", "..",
	}
	targets := []string{
		"a.example:443", "A.EXAMPLE:443", "a.example:8883", "b.a.example:443", "ba.example:443", "b.example:443", "example:443", "192.0.2.1:443",
		"192.0.3.1:443", "[2001:db8::1]:443", "[2001:db9::1]:443", "localhost:443", "127.0.0.1:443", "127.9.9.9:1", "[::1]:443", "xlocalhost:443",
		"[::ffff:127.0.0.1]:443", "[::ffff:192.0.2.1]:443",
	}
	for _, list := range lists {
		library := (&httpproxy.Config{HTTPSProxy: "http://proxy.example", NoProxy: list}).ProxyFunc()
		own := parseExceptions(list)
		for _, target := range targets {
			u, err := library(&url.URL{Scheme: "https", Host: target})
			if err != nil {
				t.Fatal(err)
			}
			host, port, err := net.SplitHostPort(target)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := own.covers(host, port), u == nil; got != want {
				t.Errorf("no_proxy=%q and %s: direct = %v, want %v", list, target, got, want)
			}
		}
	}
}

func TestAnIPv6AddressMayStandInBrackets(t *testing.T) {
	if !parseExceptions("[2001:db8::1]").covers("2001:db8::1", "443") {
		t.Error("what can mean nothing else is not understood")
	}
}
