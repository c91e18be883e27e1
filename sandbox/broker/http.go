package broker

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// protocolHTTP is the ALPN name of HTTP/1.1.
const protocolHTTP = "http/1.1"

// overHTTP returns the TLS configuration for a client that offers HTTP, nil for any other.
func (b *Broker) overHTTP(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if b.cfg.HTTP == nil || !slices.Contains(hello.SupportedProtos, protocolHTTP) {
		return nil, nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{b.cfg.Certificate},
		NextProtos: []string{protocolHTTP}, SessionTicketsDisabled: true,
	}, nil
}

// serveHTTP answers requests until the connection ends.
func (b *Broker) serveHTTP(c *conn) {
	_ = c.SetDeadline(time.Time{}) // of the handshake
	server := &http.Server{
		Handler: b.cfg.HTTP, ReadHeaderTimeout: handshakeTimeout,
		ErrorLog: slog.NewLogLogger(b.log.With("endpoint", "data plane").Handler(), slog.LevelWarn),
	}
	l := &oneConn{conn: c, closed: make(chan struct{})}
	_ = server.Serve(l) // always net.ErrClosed, when the connection is closed
}

// oneConn is a listener that accepts one connection, and ends with it.
type oneConn struct {
	conn     *conn
	accepted bool
	once     sync.Once
	closed   chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.accepted {
		l.accepted = true
		return &oneOf{l.conn, l}, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }
func (*oneConn) Close() error     { return nil }

// oneOf is the connection of a oneConn.
type oneOf struct {
	*conn
	l *oneConn
}

func (c *oneOf) Close() error {
	c.l.once.Do(func() { close(c.l.closed) })
	return c.conn.Close()
}
