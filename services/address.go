package services

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	slashpath "path"
	"strconv"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
)

const (
	// maxUnixPath is what fits into Linux's sockaddr_un beside the closing zero byte (unix(7)).
	maxUnixPath = 107
	// maxHost and maxLabel are the limits of a host name (RFC 1035, section 2.3.4).
	maxHost, maxLabel = 253, 63
)

// ParseAddress reads a target: a bare port ("22", which is that port on 127.0.0.1), "host:port",
// "[IPv6]:port" or "unix:/absolute/path". Network is "tcp" or "unix"; address is what net.Dial takes.
// Every error has a hint that says what to write instead.
func ParseAddress(s string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if err := checkUnixPath(path); err != nil {
			return "", "", err
		}
		return "unix", path, nil
	}
	switch {
	case s == "":
		return "", "", hint.Wrap(errors.New(`the address is empty`), `write a port, "host:port" or "unix:/path"`)
	case strings.ContainsFunc(s, unprintable):
		return "", "", hint.Wrap(fmt.Errorf("%q contains a space or a control character", s), "remove it")
	case strings.Contains(s, "://"):
		return "", "", hint.Wrapf(fmt.Errorf("%q is a URL, a target is an address", s), "write %q", fromURL(s))
	case isNumber(s):
		port, err := ParsePort(s)
		if err != nil {
			return "", "", err
		}
		return "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
	case strings.HasPrefix(s, "/"), strings.HasPrefix(s, "./"):
		return "", "", hint.Wrapf(fmt.Errorf("%q looks like a path", s), "write %q for a unix socket", "unix:/"+strings.TrimLeft(s, "./"))
	}
	host, digits, err := splitHostPort(s)
	if err != nil {
		return "", "", err
	}
	port, err := ParsePort(digits)
	if err != nil {
		return "", "", fmt.Errorf("%q: %w", s, err)
	}
	if err := CheckHost(host); err != nil {
		return "", "", fmt.Errorf("%q: %w", s, err)
	}
	return "tcp", net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// fromURL makes an address of a URL, for an error text.
func fromURL(s string) string {
	scheme, rest, _ := strings.Cut(s, "://")
	host, _, _ := strings.Cut(rest, "/")
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	switch scheme {
	case "https":
		return host + ":443"
	case "ssh":
		return host + ":22"
	default:
		return host + ":80"
	}
}

func unprintable(r rune) bool { return r <= ' ' || r == 0x7f }

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func checkUnixPath(path string) error {
	switch {
	case path == "":
		return hint.Wrap(errors.New(`"unix:" names no socket`), `write "unix:/path/to/socket"`)
	case path[0] == '@':
		return hint.Wrapf(fmt.Errorf("%q is an abstract socket, which has no file and so no permissions", "unix:"+path), "let the program listen on a path, and write %q", "unix:/run/"+path[1:])
	case strings.HasPrefix(path, "//"):
		return hint.Wrapf(fmt.Errorf("%q is not a path", "unix:"+path), "write %q, with one slash", "unix:/"+strings.TrimLeft(path, "/"))
	case path[0] != '/':
		return hint.Wrapf(fmt.Errorf("the unix socket %q is relative", path), "write its whole path, as in %q", "unix:/run/"+slashpath.Base(path))
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return hint.Wrap(fmt.Errorf("the unix socket %q contains a control character", path), "remove it")
	case len(path) > maxUnixPath:
		return hint.Wrap(fmt.Errorf("the unix socket's path has %d bytes, the system takes %d", len(path), maxUnixPath), "use a shorter one")
	}
	return nil
}

// splitHostPort is net.SplitHostPort with hints.
func splitHostPort(s string) (host, port string, err error) {
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bare = s[1 : len(s)-1]
	}
	if addr, perr := netip.ParseAddr(bare); perr == nil && !strings.Contains(addr.Zone(), ":") {
		if host, port, ok := portAfterIPv6(s); ok {
			return "", "", hint.Wrapf(fmt.Errorf("%q names no port, or has no brackets", s), "write %q, or %q for port 22 of the whole address", net.JoinHostPort(host, port), net.JoinHostPort(s, "22"))
		}
		return "", "", hint.Wrapf(fmt.Errorf("%q names no port", s), "write %q", net.JoinHostPort(addr.String(), "22"))
	}
	host, port, err = net.SplitHostPort(s)
	switch {
	case err == nil && host == "":
		return "", "", hint.Wrapf(fmt.Errorf("%q names no host", s), "write %q, or the port alone", "127.0.0.1"+s)
	case err == nil && port == "":
		return "", "", hint.Wrapf(fmt.Errorf("%q names no port", s), "write %q", s+"22")
	case err == nil:
		return host, port, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", hint.Wrapf(fmt.Errorf("%q names no port", s), "write %q", s+":22")
	}
	if _, perr := netip.ParseAddr(s[:i]); perr == nil {
		return "", "", hint.Wrapf(fmt.Errorf("%q: an IPv6 address needs brackets", s), "write %q", net.JoinHostPort(s[:i], s[i+1:]))
	}
	return "", "", hint.Wrap(fmt.Errorf(`%q is not an address`, s), `write a port, "host:port", "[IPv6]:port" or "unix:/path"`)
}

// portAfterIPv6 cuts "::1:22", which is an address of its own, into the address and the port that are probably
// meant.
func portAfterIPv6(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !strings.Contains(s, "::") {
		return "", "", false
	}
	addr, err := netip.ParseAddr(s[:i])
	if err != nil || !addr.Is6() {
		return "", "", false
	}
	_, err = ParsePort(s[i+1:])
	return s[:i], s[i+1:], err == nil
}

// ParsePort reads a TCP port, 1 to 65535, in digits. Its errors have hints that say what to write instead.
func ParsePort(s string) (int, error) {
	if !isNumber(s) {
		return 0, hint.Wrap(fmt.Errorf("port %q is not a number", s), "write it in digits, 1 to 65535")
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		return 0, hint.Wrap(fmt.Errorf("port %s is out of range", s), "write 1 to 65535")
	}
	return n, nil
}

// CheckHost reports whether host, without brackets, is an IP address or a host name that one can connect to.
// Its errors have hints that say what to write instead.
func CheckHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		switch {
		case addr.IsUnspecified():
			return hint.Wrap(fmt.Errorf("%s is every address of this machine, not a target", host), "write 127.0.0.1")
		case addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return hint.Wrap(fmt.Errorf("%s is a group of machines, not a target", host), "write the address of one")
		}
		return nil
	}
	if strings.Contains(host, ":") {
		return hint.Wrap(fmt.Errorf("%q is not an IPv6 address", host), "check its digits")
	}
	if strings.Trim(host, "0123456789.") == "" {
		return hint.Wrap(fmt.Errorf("%q is not an IPv4 address", host), "it has four numbers of 0 to 255")
	}
	name := strings.TrimSuffix(host, ".")
	if len(name) > maxHost {
		return hint.Wrapf(fmt.Errorf("the host name has %d characters", len(name)), "names have at most %d", maxHost)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || !hostLabel(label) {
			return hint.Wrap(fmt.Errorf("%q is not a host name", host), "it has letters, digits, dots and hyphens")
		}
	}
	return nil
}

// hostLabel takes underscores too: container networks use them.
func hostLabel(s string) bool {
	if s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// reserved are the ranges that a host name must not lead to: link-local addresses and those where clouds
// answer with a machine's credentials. Who writes the configuration may name such an address; who answers
// DNS may not choose it.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"), // link-local (RFC 3927); the metadata of most clouds is in it
	netip.MustParsePrefix("fe80::/10"),      // link-local (RFC 4291)
	netip.MustParsePrefix("0.0.0.0/8"),      // this host and network (RFC 1122): Linux takes it for loopback
	netip.MustParsePrefix("::/128"),         // likewise
	netip.MustParsePrefix("fd00:ec2::/32"),  // metadata: AWS EC2 user guide
	netip.MustParsePrefix("fd20:ce::/32"),   // metadata: Google Cloud
	netip.MustParsePrefix("fd00:c1::/32"),   // metadata: Oracle Cloud
	netip.MustParsePrefix("192.0.0.192/32"), // likewise, the older one
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("100.100.100.200/32"), // metadata: Azure above, Alibaba Cloud here
}

var localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")

// embedding are the ranges of IPv6 whose addresses stand for an IPv4 address, and which bytes of them are it: a
// translator on the way, or this host itself, turns them into it.
var embedding = []struct {
	prefix netip.Prefix
	bytes  [4]int
}{
	{netip.MustParsePrefix("::/96"), [4]int{12, 13, 14, 15}},           // IPv4-compatible (RFC 4291, 2.5.5.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), [4]int{12, 13, 14, 15}}, // IPv4-translated (RFC 2765)
	{netip.MustParsePrefix("64:ff9b::/96"), [4]int{12, 13, 14, 15}},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("2002::/16"), [4]int{2, 3, 4, 5}},           // 6to4 (RFC 3056)
	// NAT64 of a network's own (RFC 8215), whose prefix may have 96, 48, 56 or 64 bits (RFC 6052, section 2.2).
	{localNAT64, [4]int{12, 13, 14, 15}},
	{localNAT64, [4]int{6, 7, 9, 10}},
	{localNAT64, [4]int{7, 9, 10, 11}},
	{localNAT64, [4]int{9, 10, 11, 12}},
}

// isReserved reports whether addr, or the IPv4 address that it stands for, is in a reserved range.
func isReserved(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // Prefix.Contains is false for any address with a zone
	for _, p := range reserved {
		if p.Contains(addr) {
			return true
		}
	}
	for _, e := range embedding {
		if !e.prefix.Contains(addr) || addr.IsLoopback() {
			continue
		}
		b, v4 := addr.As16(), [4]byte{}
		for i, at := range e.bytes {
			v4[i] = b[at]
		}
		if v4[0] == 0 && e.prefix == localNAT64 {
			continue // its address is at another of the places
		}
		if isReserved(netip.AddrFrom4(v4)) {
			return true
		}
	}
	return false
}
