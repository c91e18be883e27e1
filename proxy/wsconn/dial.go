package wsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/roots"
	"github.com/culvert-iot/culvert/internal/tlsdial"
)

// handshakeBuffer is the size of the websocket package's buffers, for the handshake only.
const handshakeBuffer = 4 << 10

var errHandshakeTimeout = errors.New("no answer")

// Dial connects, does the handshake and starts to send pings. It fails when ctx ends or
// cfg.HandshakeTimeout has passed. An answer that opens no websocket is a [*HandshakeError]. No error
// contains a token.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	target, err := cfg.url()
	if err != nil {
		return nil, err
	}
	header, err := cfg.header()
	if err != nil {
		return nil, err
	}
	secrets := scrubber{reveal(cfg.AccessToken), reveal(cfg.ClientToken)}

	ctx, cancel := context.WithTimeoutCause(ctx, cfg.HandshakeTimeout, errHandshakeTimeout)
	defer cancel()
	var network *link
	stop := func() bool { return true }
	dialTCP := func(ctx context.Context, kind, address string) (net.Conn, error) {
		conn, err := cfg.NetDial(ctx, kind, address)
		if err != nil {
			return nil, err
		}
		network = newLink(conn)
		// The websocket package respects its context only until the request is sent.
		stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		return network, nil
	}
	var whole *opening
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, kind, address string) (net.Conn, error) {
			conn, err := dialTCP(ctx, kind, address)
			whole = &opening{Conn: conn}
			return whole, err
		},
		NetDialTLSContext: func(ctx context.Context, kind, address string) (net.Conn, error) {
			conn, err := startTLS(ctx, address, cfg.TLS, target, func(ctx context.Context) (net.Conn, error) {
				stop() // of a connection that the handshake has given up
				return dialTCP(ctx, kind, address)
			})
			if err == nil {
				network.secured = true
			}
			whole = &opening{Conn: conn}
			return whole, err
		},
		Subprotocols:    cfg.Subprotocols,
		ReadBufferSize:  handshakeBuffer,
		WriteBufferSize: handshakeBuffer,
	}
	ws, resp, err := dialer.DialContext(ctx, target.String(), header) //nolint:bodyclose // it is a copy in memory
	if resp != nil && errors.Is(err, websocket.ErrBadHandshake) {
		stop()
		return nil, handshakeError(resp, secrets)
	}
	if err == nil && !stop() {
		_ = ws.Close()
		err = ctx.Err()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("connecting to %s: %w", target.Host, secrets.err(dialError(ctx, cfg, err)))
	}
	subprotocol, err := negotiated(resp.Header, cfg.Subprotocols)
	if err != nil {
		_ = ws.Close()
		return nil, fmt.Errorf("connecting to %s: %w", target.Host, err)
	}
	network.open()
	c := newConn(&behind{Conn: whole.Conn, early: whole.held}, network, cfg, channelID(resp.Header, secrets), subprotocol)
	c.in.secrets = secrets
	return c, nil
}

// dialError says what ended the attempt: an error of the network, or the context, which closed the
// connection.
func dialError(ctx context.Context, cfg Config, err error) error {
	if at, ok := ctx.Deadline(); ok && isTimeout(err) && !time.Now().Before(at) {
		<-ctx.Done() // the connection has the same deadline and may reach it first
	}
	switch {
	case ctx.Err() == nil:
		return err
	case errors.Is(context.Cause(ctx), errHandshakeTimeout):
		return fmt.Errorf("no answer to the websocket handshake within %v: %w", cfg.HandshakeTimeout, context.DeadlineExceeded)
	default:
		return context.Cause(ctx)
	}
}

func startTLS(ctx context.Context, address string, base *tls.Config, target *url.URL, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	cfg := base.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.NextProtos = nil
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	cfg.DynamicRecordSizingDisabled = true // a message determines the record sizes
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = strings.Cut(target.Hostname(), "%")
	}
	secured, err := tlsdial.Dial(ctx, address, cfg, dial)
	if err == nil {
		return secured, nil
	}
	if dialed, ok := errors.AsType[*tlsdial.DialError](err); ok {
		return nil, dialed.Err
	}
	return nil, fmt.Errorf("TLS handshake: %w", roots.Explain(err, cfg.RootCAs))
}

func handshakeError(resp *http.Response, secrets scrubber) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	date, _ := http.ParseTime(resp.Header.Get("Date")) // zero if it cannot be read
	return &HandshakeError{
		Status:       resp.StatusCode,
		StatusReason: clean.Line(secrets.text(resp.Header.Get("X-Status-Reason")), maxHeader),
		Body:         clean.Line(secrets.text(string(body)), maxBody),
		ChannelID:    channelID(resp.Header, secrets),
		RetryAfter:   retryAfter(resp.Header.Get("Retry-After"), time.Now()),
		Date:         date,
	}
}

func channelID(h http.Header, secrets scrubber) string {
	return clean.Line(secrets.text(h.Get("Channel-Id")), maxHeader)
}

// negotiated returns the subprotocol that the service chose. The guide requires it to name one; a
// server that names none speaks the oldest.
func negotiated(answer http.Header, offered []string) (string, error) {
	if answer.Get("Sec-Websocket-Extensions") != "" {
		// The websocket package would accept compression that it did not offer.
		return "", errors.New("the tunnel service chose a websocket extension, and none was offered")
	}
	picked := answer.Get("Sec-Websocket-Protocol")
	if picked == "" {
		return SubprotocolV1, nil
	}
	if !slices.Contains(offered, picked) {
		return "", fmt.Errorf("the tunnel service chose subprotocol %q, which was not offered", clean.Line(picked, maxHeader))
	}
	return picked, nil
}
