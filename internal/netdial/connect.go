package netdial

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/roots"
	"github.com/culvert-iot/culvert/internal/tlsdial"
)

const (
	// answerLimit bounds the header of a proxy's answer, in bytes.
	answerLimit = 16 << 10

	// reasonLimit bounds what an error quotes of the proxy, in bytes.
	reasonLimit = 200

	// interimLimit bounds the 1xx answers before the final one.
	interimLimit = 5
)

// dialConnect asks an http:// or https:// proxy for a tunnel to address (RFC 9110, section 9.3.6).
func (d *Dialer) dialConnect(ctx context.Context, address string, proxy *url.URL) (net.Conn, error) {
	conn, err := d.dial(ctx, "tcp", proxyAddress(proxy))
	if err != nil {
		return nil, d.proxyError(proxy, address, "cannot connect to the proxy",
			"check "+d.settings()+" and that the proxy runs, or list the target in no_proxy", causeOf(ctx, err))
	}
	// A deadline in the past ends a pending read or write when ctx ends.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	through, err := d.connect(ctx, conn, address, proxy)
	if !stop() && err == nil {
		err = d.proxyError(proxy, address, "gave up", "", context.Cause(ctx))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return through, nil
}

func (d *Dialer) connect(ctx context.Context, conn net.Conn, address string, proxy *url.URL) (net.Conn, error) {
	if proxy.Scheme == "https" {
		secured := tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), RootCAs: d.RootCAs, Time: d.Time, MinVersion: tls.VersionTLS12})
		if err := tlsdial.Explain(ctx, secured.HandshakeContext(ctx)); err != nil {
			return nil, d.proxyError(proxy, address, "TLS with the proxy failed", d.tlsHint(err), roots.Explain(causeOf(ctx, err), d.RootCAs))
		}
		conn = secured
	}
	if _, err := io.WriteString(conn, connectRequest(address, proxy.User)); err != nil {
		return nil, d.proxyError(proxy, address, "cannot send the request to the proxy", "check "+d.settings(), causeOf(ctx, err))
	}
	got, err := readAnswer(conn)
	if err != nil {
		reason, advice := "no usable answer from the proxy", "check the scheme and the port in "+d.settings()
		if ctx.Err() != nil {
			reason, advice = "no answer from the proxy", "check that it runs and can reach the target"
		}
		return nil, d.proxyError(proxy, address, reason, advice, causeOf(ctx, err))
	}
	if got.status/100 != 2 {
		refusal := d.proxyError(proxy, address, withoutPassword(got.reason(), proxy.User), d.statusHint(got, proxy), nil)
		refusal.Status = got.status
		return nil, refusal
	}
	if len(got.early) > 0 {
		return &earlyConn{Conn: conn, early: got.early}, nil
	}
	return conn, nil
}

func connectRequest(address string, user *url.Userinfo) string {
	var b strings.Builder
	// Host is mandatory in HTTP/1.1; Squid and others refuse a request without it.
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: culvert\r\n", address, address)
	if user != nil {
		fmt.Fprintf(&b, "Proxy-Authorization: Basic %s\r\n", basic(user))
	}
	b.WriteString("\r\n")
	return b.String()
}

// basic encodes user and password for the request (RFC 7617).
func basic(user *url.Userinfo) string {
	password, _ := user.Password()
	return base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
}

// withoutPassword removes the credentials from a proxy's answer: some repeat the request.
func withoutPassword(text string, user *url.Userinfo) string {
	if user == nil {
		return text
	}
	password, _ := user.Password()
	for _, s := range []string{basic(user), password, url.QueryEscape(password)} {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[password]")
		}
	}
	return text
}

// answer is a proxy's final answer to CONNECT.
type answer struct {
	status int
	line   string // status and reason
	header http.Header
	early  []byte // first bytes of the tunnel: the target may speak first
}

// readAnswer reads the proxy's final answer.
func readAnswer(conn io.Reader) (answer, error) {
	limited := &io.LimitedReader{R: conn, N: answerLimit}
	br := bufio.NewReader(limited)
	first, err := br.Peek(1)
	switch {
	case errors.Is(err, io.EOF):
		return answer{}, errors.New("it closed the connection without an answer")
	case err != nil:
		return answer{}, err
	case first[0] == 0x15 || first[0] == 0x16: // a TLS record: alert or handshake
		return answer{}, errors.New("it answers in TLS, as an https:// proxy does")
	}
	for range interimLimit {
		//nolint:bodyclose // an answer to CONNECT has no body; Close would read the tunnel
		resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF) && limited.N <= 0:
			return answer{}, fmt.Errorf("the answer's header is longer than %d bytes", answerLimit)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return answer{}, errors.New("it closed the connection in the middle of its answer")
		case err != nil && isNetError(err):
			return answer{}, err
		case err != nil:
			// The error would quote what the proxy sent, at any length.
			return answer{}, errors.New("the answer is not HTTP")
		}
		if resp.StatusCode/100 != 1 {
			early, err := br.Peek(br.Buffered())
			return answer{resp.StatusCode, resp.Status, resp.Header, bytes.Clone(early)}, err
		}
	}
	return answer{}, errors.New("only interim answers came")
}

func isNetError(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

// reason is the status line's text and, from Squid, the name of the refusing rule.
func (a answer) reason() string {
	reason := clean.Line(strings.TrimPrefix(a.line, strconv.Itoa(a.status)), reasonLimit)
	if reason == "" {
		reason = http.StatusText(a.status)
	}
	if squid := clean.Line(a.header.Get("X-Squid-Error"), reasonLimit); squid != "" {
		reason += " [" + squid + "]"
	}
	return reason
}

func (d *Dialer) statusHint(a answer, proxy *url.URL) string {
	switch a.status {
	case http.StatusProxyAuthRequired:
		if !a.offersBasic() {
			return "the proxy does not take Basic authentication, the only kind supported: " +
				"have the target allowed without it, or list it in no_proxy"
		}
		if proxy.User != nil {
			return "correct user name or password in " + d.settings() + " (special characters are written %XX)"
		}
		return "add user and password to " + d.settings() + ", as in http://user:password@host:port"
	case http.StatusForbidden, http.StatusUnauthorized:
		return "have the proxy's administrator allow CONNECT to the target, or list it in no_proxy"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusNotFound:
		return "the proxy itself cannot reach the target: check the target's name, and the proxy's DNS and firewall"
	case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
		return "it may be a web server rather than a proxy, or does not allow CONNECT to this port: check " + d.settings()
	default:
		return "check " + d.settings()
	}
}

// offersBasic is also true of a proxy that names no authentication scheme.
func (a answer) offersBasic() bool {
	offers := a.header.Values("Proxy-Authenticate")
	for _, offer := range offers {
		if strings.Contains(strings.ToLower(offer), "basic") {
			return true
		}
	}
	return len(offers) == 0
}

func (d *Dialer) tlsHint(err error) string {
	var unknown *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	switch {
	case hint.Of(err) != "":
		return hint.Of(err)
	case errors.As(err, &notTLS):
		return "it does not speak TLS: write http:// instead of https:// in " + d.settings()
	case errors.As(err, &unknown):
		return "the proxy's certificate must be trusted by the system, valid today and issued for the name in " + d.settings()
	default:
		return "check the scheme and the port in " + d.settings()
	}
}

func proxyAddress(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[proxy.Scheme]
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// earlyConn returns the bytes that came with the proxy's answer first. Read may run beside Write and
// Close, but only one Read at a time.
type earlyConn struct {
	net.Conn
	early []byte
}

// Read reads the early bytes, then the connection.
func (c *earlyConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}
