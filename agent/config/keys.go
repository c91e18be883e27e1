package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	advice "github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/services"
)

const (
	// maxClientID is in bytes (AWS IoT developer guide, MQTT).
	maxClientID = 128
	// maxTunnels is not a limit of the service: each tunnel costs memory, and an account has few quotas
	// beyond it.
	maxTunnels = 1000
	// AWS IoT treats a keep-alive below 30 s as 30 s and one above 1,200 s as 1,200 s (developer guide,
	// MQTT keep-alive): a value that would not be kept is refused.
	minKeepAlive, maxKeepAlive = 30 * time.Second, 1200 * time.Second
	// maxSocketPath is what fits into sockaddr_un (unix(7)).
	maxSocketPath = 107
	maxRegion     = 64
)

func (d *decoder) thingName(n *node) {
	s, ok := d.str(n)
	if !ok {
		return
	}
	if flaw := nameFlaw(s); flaw != "" {
		d.doc.problem(n.value, `AWS IoT allows 1 to 128 letters, digits, ":", "_" and "-"`, "thing_name %s", flaw)
		return
	}
	d.cfg.ThingName = s
}

// nameFlaw explains why AWS IoT would refuse the name of a thing or a service; "" if it would not. The rule is in
// services.ValidName.
func nameFlaw(s string) string {
	if services.ValidName(s) {
		return ""
	}
	if s == "" {
		return "is empty"
	}
	for _, r := range s {
		if !services.ValidName(string(r)) {
			return fmt.Sprintf("%q has a %q in it", s, r)
		}
	}
	return fmt.Sprintf("has %d characters", len(s))
}

func (d *decoder) clientID(n *node) {
	s, ok := d.str(n)
	switch {
	case !ok:
	case len(s) > maxClientID:
		d.doc.problem(n.value, "AWS IoT takes at most 128 bytes", "mqtt.client_id has %d bytes", len(s))
	case !utf8.ValidString(s), strings.ContainsFunc(s, isControl):
		d.doc.problem(n.value, "use visible characters only", "mqtt.client_id %q has a control character", s)
	default:
		d.cfg.MQTT.ClientID = s
	}
}

// defaultClientID derives the client id, since two clients with one id keep disconnecting each other.
func (d *decoder) defaultClientID() {
	c := d.cfg
	if c.MQTT.ClientID != "" || c.ThingName == "" {
		return
	}
	c.MQTT.ClientID = c.ThingName + "-tunnel"
	if m := d.doc.root.child("mqtt"); len(c.MQTT.ClientID) > maxClientID && (m == nil || m.child("client_id") == nil || m.child("client_id").text == "") {
		d.doc.problem(d.doc.root.child("thing_name").value, `write client_id = "…" beneath [mqtt]`,
			"thing_name is too long for the default client id, which is thing_name and %q, at most %d bytes", "-tunnel", maxClientID)
	}
}

func (d *decoder) mqttEndpoint(n *node) {
	s, ok := d.str(n)
	if !ok {
		return
	}
	host, port, flaw, hint := hostPort(s, d.cfg.MQTT.Port)
	if flaw != "" {
		d.doc.problem(n.value, hint, "%s %s", n.path, flaw)
		return
	}
	d.cfg.MQTT.Endpoint, d.cfg.MQTT.Port = host, port
}

// hostPort reads "host[:port]", with an IPv6 address in brackets.
func hostPort(s string, port int) (host string, _ int, flaw, hint string) {
	switch {
	case s == "":
		return "", 0, "is empty", "it is printed by " + endpointHint
	case strings.Contains(s, "://"):
		_, rest, _ := strings.Cut(s, "://")
		rest, _, _ = strings.Cut(rest, "/")
		return "", 0, fmt.Sprintf("%q is a URL", s), fmt.Sprintf("write the host alone: %q", rest)
	case strings.Contains(s, "@"):
		return "", 0, fmt.Sprintf("%q names a user", s), "write the host alone"
	case strings.Contains(s, "/"):
		rest, _, _ := strings.Cut(s, "/")
		return "", 0, fmt.Sprintf("%q has a path", s), fmt.Sprintf("write the host alone: %q", rest)
	case strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
	case !strings.Contains(s, ":"):
		host = s
	default:
		if addr, err := netip.ParseAddr(s); err == nil {
			return "", 0, fmt.Sprintf("%q is an IPv6 address without brackets", s), fmt.Sprintf("write %q", "["+addr.String()+"]")
		}
		var digits string
		var err error
		if host, digits, err = net.SplitHostPort(s); err != nil {
			return "", 0, fmt.Sprintf("%q is not host or host:port", s), "it is printed by " + endpointHint
		}
		if port, err = services.ParsePort(digits); err != nil {
			return "", 0, fmt.Sprintf("%q: %v", s, err), advice.Of(err)
		}
	}
	if host == "" {
		return "", 0, fmt.Sprintf("%q names no host", s), "it is printed by " + endpointHint
	}
	if err := services.CheckHost(host); err != nil {
		return "", 0, err.Error(), advice.Of(err)
	}
	return host, port, "", ""
}

func (d *decoder) keepAlive(n *node) {
	var v time.Duration
	if !d.duration(n, &v, "60s") {
		return
	}
	switch {
	case v < minKeepAlive, v > maxKeepAlive:
		d.doc.problem(n.value, `AWS IoT keeps to "30s" to "20m"`, "mqtt.keep_alive: %q is out of range", n.text)
	case v%time.Second != 0:
		d.doc.problem(n.value, "MQTT counts whole seconds", "mqtt.keep_alive: %q has a fraction of a second", n.text)
	default:
		d.cfg.MQTT.KeepAlive = v
	}
}

// tunnelEndpoint reads "wss://host[:port]". Without TLS the token would be readable on the way, so ws://
// is for a sandbox on this machine only.
func (d *decoder) tunnelEndpoint(n *node) {
	s, ok := d.str(n)
	if !ok || s == "" {
		return
	}
	bad := func(hint, format string, args ...any) { d.doc.problem(n.value, hint, n.path+" "+format, args...) }
	scheme, rest, found := strings.Cut(s, "://")
	rest = strings.TrimSuffix(rest, "/")
	switch {
	case !found:
		bad(fmt.Sprintf("write %q", "wss://"+s), "%q has no scheme", s)
		return
	case scheme != "wss" && scheme != "ws":
		bad(fmt.Sprintf("write %q", "wss://"+rest), "%q is not a websocket address", s)
		return
	case strings.ContainsAny(rest, "/?#"):
		bad(fmt.Sprintf("write %q: the path is added by itself", scheme+"://"+rest[:strings.IndexAny(rest, "/?#")]), "%q has more than host and port", s)
		return
	}
	host, _, flaw, hint := hostPort(rest, 443)
	if flaw != "" {
		if strings.Contains(hint, endpointHint) {
			hint = `write "wss://host:port", or leave the key out: AWS's own endpoint is the default`
		}
		bad(hint, "%s", flaw)
		return
	}
	if scheme == "ws" && !isLoopback(host) {
		bad(fmt.Sprintf("write %q", "wss://"+rest), "%q would send tokens unencrypted; ws:// is for this machine alone", s)
		return
	}
	if _, err := url.Parse(scheme + "://" + rest); err != nil { // a zone in an IPv6 address, for one
		bad(`write "wss://host:port"`, "%q is not a websocket address", s)
		return
	}
	d.cfg.Tunnel.Endpoint = scheme + "://" + rest
}

func isLoopback(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func (d *decoder) regions(n *node) {
	if n.kind == stringKind {
		d.want(n, listKind, fmt.Sprintf("write [%q]", n.text))
		return
	}
	if !d.want(n, listKind, `write a list, as in ["eu-west-1"]`) {
		return
	}
	var list []string
	for c, s := range d.texts(n) {
		if s == "" || len(s) > maxRegion || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			d.doc.problem(c.value, `a region is written as "eu-west-1"`, "tunnel.regions: %q is not a region", s)
			continue
		}
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	d.cfg.Tunnel.Regions = list
}

func (d *decoder) connectTimeout(n *node) {
	d.positive(n, &d.cfg.Tunnel.ConnectTimeout, "5s", "nothing connects in no time")
}

// positive reads a duration that must not be 0, for the reason why.
func (d *decoder) positive(n *node, into *time.Duration, example, why string) {
	var v time.Duration
	switch {
	case !d.duration(n, &v, example):
	case v == 0:
		d.doc.problem(n.value, `write "`+example+`", or leave the key out`, "%s: %s", n.path, why)
	default:
		*into = v
	}
}

// maxResumeTimeout bounds how long a connection that was left behind keeps its target open.
const maxResumeTimeout = 24 * time.Hour

func (d *decoder) resumeTimeout(n *node) {
	var v time.Duration
	if !d.duration(n, &v, "10m") {
		return
	}
	if v > maxResumeTimeout {
		d.doc.problem(n.value, `write "24h" at most`, "tunnel.resume_timeout: %v is too long", v)
		return
	}
	d.cfg.Tunnel.ResumeTimeout = v
}

func (d *decoder) logLevel(n *node) {
	var s string
	if d.oneOf(n, &s, "debug", "info", "warn", "error") {
		_ = d.cfg.Log.Level.UnmarshalText([]byte(s)) // knows these four
	}
}

func (d *decoder) controlSocket(n *node) {
	if !d.optionalPath(n, &d.cfg.Control.Socket) {
		return
	}
	if l := len(d.cfg.Control.Socket); l > maxSocketPath {
		d.doc.problem(n.value, "use a shorter path", "control.socket: the path has %d bytes, the system takes %d", l, maxSocketPath)
	}
}

func (d *decoder) controlGroup(n *node) {
	s, ok := d.str(n)
	if ok && strings.ContainsFunc(s, func(r rune) bool { return isControl(r) || r == ' ' || r == ':' }) {
		d.doc.problem(n.value, "write the name of a group, or its number in quotes", "control.group: %q is not a group", s)
		return
	}
	d.cfg.Control.Group = s
}

// metricsListen keeps what the daemon tells about itself on this machine.
func (d *decoder) metricsListen(n *node) {
	s, ok := d.str(n)
	if !ok || s == "" {
		return
	}
	const hint = `write "127.0.0.1:9273" or "unix:/path"; for others put a proxy with TLS in front`
	if host, _, err := net.SplitHostPort(s); err == nil && (host == "" || host == "0.0.0.0" || host == "::") {
		d.doc.problem(n.value, hint, "metrics.listen: %q is open to the whole network", s)
		return
	}
	network, address, err := services.ParseAddress(s)
	if err != nil {
		d.doc.problem(n.value, hint, "metrics.listen: %v", err)
		return
	}
	if network == "unix" {
		d.cfg.Metrics.Listen = s
		return
	}
	if host, _, _ := net.SplitHostPort(address); !isLoopback(host) {
		d.doc.problem(n.value, hint, "metrics.listen: %q is not on this machine's loopback", s)
		return
	}
	d.cfg.Metrics.Listen = address
}
