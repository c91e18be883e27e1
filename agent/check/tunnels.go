package check

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/proxy/wsconn"
)

// endpoint is a data endpoint that tunnels may use.
type endpoint struct {
	url, host, address string
	subject            string // the region, if there are several
	key                string // of the configuration, for remedies
}

// regions returns the regions to check, and the configuration key that names them.
func (c *checkup) regions() (regions []string, key string) {
	if len(c.cfg.Tunnel.Regions) > 0 {
		return c.cfg.Tunnel.Regions, "tunnel.regions"
	}
	if region := regionOf(c.cfg.MQTT.Endpoint); region != "" {
		return []string{region}, "mqtt.endpoint"
	}
	return nil, ""
}

func (c *checkup) endpoints() []endpoint {
	if c.cfg.Tunnel.Endpoint != "" {
		u, err := url.Parse(c.cfg.Tunnel.Endpoint)
		if err != nil {
			return nil // the configuration's own check found it good
		}
		port := cmp.Or(u.Port(), map[string]string{"wss": "443", "ws": "80"}[u.Scheme])
		return []endpoint{{url: c.cfg.Tunnel.Endpoint, host: u.Hostname(), address: net.JoinHostPort(u.Hostname(), port), key: "tunnel.endpoint"}}
	}
	regions, key := c.regions()
	var list []endpoint
	for _, region := range regions {
		host, err := endpoints.Data(region)
		if err != nil {
			continue
		}
		e := endpoint{url: "wss://" + host, host: host, address: host + ":443", key: key}
		if len(regions) > 1 {
			e.subject = region
		}
		list = append(list, e)
	}
	return list
}

// tunnels tries all endpoints side by side.
func (c *checkup) tunnels(ctx context.Context) []*Result {
	ctx, cancel := context.WithTimeout(ctx, endpointLimit)
	defer cancel()
	all := c.endpoints()
	results := make([][]*Result, len(all))
	var tries sync.WaitGroup
	for i, e := range all {
		tries.Go(func() { results[i] = c.tunnel(ctx, e) })
	}
	tries.Wait()
	return slices.Concat(append([][]*Result{{c.region(len(all))}}, results...)...)
}

func (c *checkup) region(known int) *Result {
	const id = "tunnel.region"
	regions, key := c.regions()
	home := regionOf(c.cfg.MQTT.Endpoint)
	switch {
	case c.cfg.Tunnel.Endpoint != "":
		return well(id, "%s for every region (tunnel.endpoint)", c.cfg.Tunnel.Endpoint)
	case known == 0:
		return skipped(id, "unknown until a notification names it; set tunnel.regions to check its endpoint")
	case home != "" && !slices.Contains(regions, home):
		return warning(id, fmt.Sprintf("add %q to tunnel.regions, unless tunnels are opened elsewhere on purpose", home),
			"mqtt.endpoint is in %s, and tunnel.regions refuses tunnels of that region", home)
	}
	return well(id, "%s (%s)", strings.Join(regions, ", "), key)
}

// noToken is a dummy access token: the service must refuse it, and no real token is spent.
type noToken struct{}

// Reveal returns an obvious dummy.
func (noToken) Reveal() string { return "culvert-check-brings-no-token" }

// tunnel tries the handshake of a tunnel.
func (c *checkup) tunnel(ctx context.Context, e endpoint) []*Result {
	rt := c.newRoute("tunnel", e.subject, e.host, e.key)
	r, ok := rt.name(ctx, e.address)
	list := []*Result{r}
	rest := func(why string, ids ...string) []*Result {
		for _, r := range skipRest(why, ids...) {
			list = append(list, r.of(e.subject))
		}
		return list
	}
	if !ok {
		return rest("the name does not resolve", "tunnel.tcp", "tunnel.tls", "tunnel.answer")
	}
	var seen peer
	err := c.tryHandshake(ctx, e, rt, &seen, c.verify)
	r, ok = rt.tcp(ctx, e.address)
	list = append(list, r)
	if !ok {
		return rest("there is no connection", "tunnel.tls", "tunnel.answer")
	}
	switch {
	case strings.HasPrefix(e.url, "ws://"):
		list = append(list, skipped("tunnel.tls", "%s is without TLS, on this machine", e.url).of(e.subject))
	case !seen.shown():
		list = append(list, c.tlsFailure(ctx, e, err).of(e.subject).since(rt.began))
		if cert := outOfDate(err); cert != nil {
			// Perhaps only the device's clock is wrong. Verified at a time within its certificate, the
			// service tells its own. Nothing secret is sent.
			within := cert.NotBefore.Add(min(cert.NotAfter.Sub(cert.NotBefore)/2, 24*time.Hour))
			_ = c.tryHandshake(ctx, e, c.newRoute("tunnel", e.subject, e.host, e.key), new(peer), func() time.Time { return within })
		}
		return rest("there is no TLS", "tunnel.answer")
	default:
		list = append(list, seen.trusted("tunnel.tls", e.address).of(e.subject).since(rt.began))
	}
	return append(list, c.answer(ctx, err).of(e.subject).since(rt.began))
}

// tryHandshake makes one handshake. Its error is nil only if the server accepts the dummy token.
func (c *checkup) tryHandshake(ctx context.Context, e endpoint, rt *route, seen *peer, now func() time.Time) error {
	base, err := agent.TunnelTLS(c.cfg, now) // files tells of an error
	if base == nil {
		return err
	}
	seen.watch(base)
	conn, err := wsconn.Dial(ctx, wsconn.Config{
		Endpoint: e.url, Mode: "destination", AccessToken: noToken{}, TLS: base, NetDial: rt.dial, HandshakeTimeout: endpointLimit,
	})
	var refused *wsconn.HandshakeError
	switch {
	case err == nil:
		_ = conn.Close(1000, "")
	case errors.As(err, &refused) && !refused.Date.IsZero():
		device := c.Now().Add(-time.Since(seen.at) / 2) // the request took half of the time since TLS stood
		c.mu.Lock()
		c.clockReadings = append(c.clockReadings, clockReading{host: e.host, date: refused.Date, device: device})
		c.mu.Unlock()
	}
	return err
}

// answer judges the server's answer.
func (c *checkup) answer(ctx context.Context, err error) *Result {
	const id = "tunnel.answer"
	const between = "a web filter or a captive portal may intercept: have it let the host through"
	var refused *wsconn.HandshakeError
	switch {
	case err == nil:
		return failed(id, "correct tunnel.endpoint", "the server accepted a dummy token: it is not the tunnel service")
	case !errors.As(err, &refused):
		return failed(id, between, "no answer to the websocket handshake: %v", c.late(ctx, err))
	}
	words := strings.TrimSpace(refused.StatusReason + " " + refused.Body)
	if len(words) > 120 {
		words = strings.ToValidUTF8(words[:120], "") + "…"
	}
	text := strings.TrimSuffix(fmt.Sprintf("%d %s: %s", refused.Status, http.StatusText(refused.Status), words), ": ")
	own := refused.ChannelID != "" || refused.StatusReason != "" || strings.Contains(strings.ToLower(refused.Body), "token")
	switch {
	case refused.Status == http.StatusTooManyRequests, refused.Status >= 500:
		return warning(id, "check again in some minutes", "%s", text)
	case refused.Status/100 != 4:
		return failed(id, between, "%s: not an answer of the tunnel service", text)
	case !own:
		return warning(id, between, "%s: it may not be the tunnel service's own answer", text)
	}
	return well(id, "the service answers (it rejected a dummy token, as expected): %s", text)
}

// tlsFailure explains a failed TLS handshake with the data endpoint.
func (c *checkup) tlsFailure(ctx context.Context, e endpoint, err error) *Result {
	const id = "tunnel.tls"
	var (
		authority x509.UnknownAuthorityError
		roots     x509.SystemRootsError
		hostname  x509.HostnameError
	)
	cert := outOfDate(err)
	if hint.Of(err) == "" {
		err = bare(err)
	}
	text := fmt.Sprintf("TLS with %s failed: %v", e.address, c.late(ctx, err))
	switch {
	case cert != nil && c.Now().Before(cert.NotBefore):
		return failed(id, setClock, "%s is valid only from %s, and this device's clock says %s", e.host,
			cert.NotBefore.UTC().Format(time.DateOnly), c.Now().UTC().Format(time.DateOnly))
	case cert != nil && hint.Of(err) != "": // a stamp of the time in the state directory
		return failed(id, hint.Of(err), "%s", text)
	case cert != nil:
		return failed(id, setClock+"; if it is right, the operator of "+e.host+" must renew the certificate", "%s has a certificate that expired on %s, by this device's clock",
			e.host, cert.NotAfter.UTC().Format(time.DateOnly))
	case errors.As(err, &authority):
		issuer := ""
		if authority.Cert != nil {
			issuer = ", issued by " + name(authority.Cert.Issuer.CommonName)
		}
		return failed(id, "install ca-certificates: tunnels need the public roots, and mqtt.ca_file does not count here; if a proxy intercepts TLS, put its root into tunnel.ca_file",
			"the certificate of %s is not trusted%s", e.host, issuer)
	case errors.As(err, &roots):
		return failed(id, "install ca-certificates, or set tunnel.ca_file", "the system has no root certificates: %v", roots)
	case errors.As(err, &hostname):
		return failed(id, "check "+e.key+" and DNS: something else answers there", "%s shows a certificate for another name", e.address)
	case isRecordHeader(err):
		return failed(id, "correct the port in "+e.key, "what listens on %s does not speak TLS", e.address)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return failed(id, "a firewall or web filter may forbid the host: allow it", "%s closed the connection in the TLS handshake", e.address)
	}
	return failed(id, "check "+e.key+", and whether a firewall is in between", "%s", text)
}
