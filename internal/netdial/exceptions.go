package netdial

import (
	"net/netip"
	"strings"
)

// exceptions are the targets of no_proxy. The variable has no standard; this follows curl and Go's
// HTTP client. golang.org/x/net/http/httpproxy does the same but adds 100 KB to the binary, mostly
// tables for non-ASCII host names, which are refused here anyway.
type exceptions struct {
	all      bool
	entries  []exception
	networks []netip.Prefix
}

// exception is a host with its subdomains, or the subdomains alone.
type exception struct {
	host  string // lower case, without dots at its ends; an address in its shortest form
	port  string // "" is any
	below bool   // .example: not example itself
}

// parseExceptions reads a comma-separated list. A malformed entry matches nothing.
func parseExceptions(list string) exceptions {
	var x exceptions
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if entry == "" {
			continue
		}
		if entry == "*" {
			return exceptions{all: true}
		}
		if network, err := netip.ParsePrefix(entry); err == nil {
			x.networks = append(x.networks, network)
			continue
		}
		host, port := entry, ""
		if _, err := netip.ParseAddr(entry); err != nil { // an IPv6 address has colons and no port
			if i := strings.LastIndexByte(entry, ':'); i >= 0 && !strings.HasSuffix(entry, "]") {
				host, port = entry[:i], entry[i+1:]
			}
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		host = strings.TrimPrefix(host, "*") // *.example is .example
		bare := strings.Trim(host, ".")
		if addr, err := netip.ParseAddr(bare); err == nil {
			bare = addr.Unmap().String()
		}
		if bare != "" {
			x.entries = append(x.entries, exception{bare, port, strings.HasPrefix(host, ".")})
		}
	}
	return x
}

// covers reports whether a target is dialled directly. This machine itself always is.
func (x exceptions) covers(host, port string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	addr, err := netip.ParseAddr(host)
	if err == nil {
		addr = addr.Unmap().WithZone("")
		host = addr.String()
	}
	if x.all || host == "localhost" || err == nil && addr.IsLoopback() {
		return true
	}
	for _, network := range x.networks {
		if err == nil && network.Contains(addr) {
			return true
		}
	}
	for _, e := range x.entries {
		if e.port != "" && e.port != port {
			continue
		}
		if host == e.host && !e.below || err != nil && strings.HasSuffix(host, "."+e.host) {
			return true
		}
	}
	return false
}
