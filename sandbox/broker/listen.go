package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/culvert-iot/culvert/internal/accept"
)

// ALPN is the protocol name that a client with a certificate must offer on port 443 (AWS IoT developer guide).
const ALPN = "x-amzn-mqtt-ca"

// handshakeTimeout bounds the TLS handshake and the wait for CONNECT.
const handshakeTimeout = 10 * time.Second

// Restart begins to listen, after an outage on the same ports as before it. On a broker that listens it does nothing.
func (b *Broker) Restart() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		return nil
	}
	if b.closed {
		return errors.New("the broker is closed")
	}
	for i := range b.addrs {
		if b.addrs[i] == "" {
			continue
		}
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", b.addrs[i])
		if err != nil {
			b.closeListeners()
			return fmt.Errorf("mqtt: listen on %s: %w", b.addrs[i], err)
		}
		b.addrs[i] = l.Addr().String()
		b.listeners = append(b.listeners, l)
		b.tasks.Go(func() { b.accept(l, i == 1) })
	}
	b.running = true
	return nil
}

// Stop plays an outage: nothing listens, all connections drop. Sessions and what they wait for are kept, and Publish
// goes on working: the service runs and cannot be reached.
func (b *Broker) Stop() {
	b.mu.Lock()
	b.running = false
	b.closeListeners()
	for c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.tasks.Wait()
}

func (b *Broker) closeListeners() {
	for _, l := range b.listeners {
		_ = l.Close()
	}
	b.listeners = nil
}

// Running reports whether the broker listens.
func (b *Broker) Running() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running
}

// Freeze makes the network swallow everything while frozen is true: connections stand, no byte passes, new ones get no
// answer. Afterwards what was held back is delivered.
func (b *Broker) Freeze(frozen bool) { b.gate.set(frozen) }

// Frozen reports whether Freeze is in force.
func (b *Broker) Frozen() bool { return b.gate.wait() != nil }

func (b *Broker) accept(l net.Listener, alpn bool) {
	accepting := accept.Acceptor{Listener: l, Warn: func(err error) { b.log.Warn("mqtt connections cannot be accepted for now", "error", err) }}
	for {
		raw, err := accepting.Next(context.Background())
		if err != nil {
			if b.Running() && !errors.Is(err, net.ErrClosed) {
				b.log.Warn("mqtt listener failed", "error", err)
			}
			return
		}
		b.serve(raw, alpn)
	}
}

// serve takes a new connection over and returns at once.
func (b *Broker) serve(raw net.Conn, alpn bool) {
	c := &conn{raw: &gated{Conn: raw, gate: &b.gate, closed: make(chan struct{})}, done: make(chan struct{})}
	cfg := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{b.cfg.Certificate},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              b.cfg.ClientCAs,
		SessionTicketsDisabled: true, // as AWS IoT: transport security
	}
	if alpn {
		cfg.NextProtos = []string{ALPN}
	}
	cfg.GetConfigForClient = b.overHTTP
	c.Conn = tls.Server(c.raw, cfg)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.running { // Stop came between Accept and here
		_ = raw.Close()
		return
	}
	b.conns[c] = struct{}{}
	b.tasks.Go(func() {
		defer func() {
			_ = c.Close()
			close(c.done)
			b.mu.Lock()
			delete(b.conns, c)
			b.mu.Unlock()
		}()
		b.attach(c, alpn)
	})
}

// attach shakes hands and gives the connection to mochi until it ends.
func (b *Broker) attach(c *conn, alpn bool) {
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	shaker, ok := c.Conn.(*tls.Conn)
	if !ok {
		return
	}
	err := shaker.HandshakeContext(context.Background()) // the deadline bounds it
	if errors.Is(err, io.EOF) {
		b.log.Debug("mqtt connection closed before its TLS handshake")
		return
	}
	if err == nil && shaker.ConnectionState().NegotiatedProtocol == protocolHTTP {
		b.serveHTTP(c)
		return
	}
	if err == nil {
		err = b.vet(c, shaker.ConnectionState(), alpn)
	}
	if err != nil {
		b.log.Warn("mqtt TLS handshake failed", "error", err)
		return
	}
	defer b.leave(c)
	defer b.disconnected(c)
	// The error was logged by the hook, or is the ordinary end of a connection.
	_ = b.server.EstablishConnection("tls", c)
}

func (b *Broker) vet(c *conn, state tls.ConnectionState, alpn bool) (err error) {
	c.cert = state.PeerCertificates[0]
	if c.thing, err = b.cfg.Thing(c.cert); err != nil {
		return err
	}
	if alpn && state.NegotiatedProtocol != ALPN {
		return fmt.Errorf("port 443 wants ALPN protocol %s", ALPN)
	}
	if b.cfg.RequireSNI && state.ServerName == "" {
		return errors.New("the client named no server (SNI)")
	}
	return nil
}

// conn is a client's connection as mochi sees it.
type conn struct {
	net.Conn // TLS
	raw      *gated
	cert     *x509.Certificate
	thing    string        // whose certificate it is
	done     chan struct{} // closed when mochi has let go of it

	subscribing atomic.Bool  // mochi is between OnSubscribe and OnSubscribed
	holds       bool         // Broker.establish; used by mochi's goroutine of this connection only
	refused     error        // why the rules ended it; likewise
	client      *mqtt.Client // once its CONNECT was accepted; likewise

	acks sync.Map // packet id of a direct message: chan struct{}, closed by PUBACK
}

// Close drops the connection without a TLS farewell, which could block and which a dropped connection has not.
func (c *conn) Close() error { return c.raw.Close() }

// gated is a TCP connection behind a gate.
type gated struct {
	net.Conn
	gate   *gate
	once   sync.Once
	closed chan struct{}
}

func (g *gated) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.pass() {
		return 0, net.ErrClosed
	}
	return n, err
}

func (g *gated) Write(p []byte) (int, error) {
	if !g.pass() {
		return 0, net.ErrClosed
	}
	return g.Conn.Write(p)
}

func (g *gated) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Conn.Close()
}

// pass waits for the gate and reports whether the connection still stands.
func (g *gated) pass() bool {
	for {
		opened := g.gate.wait()
		if opened == nil {
			return true
		}
		select {
		case <-opened:
		case <-g.closed:
			return false
		}
	}
}

// gate is open or shut. The zero value is open.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // nil while open
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && g.opened == nil:
		g.opened = make(chan struct{})
	case !shut && g.opened != nil:
		close(g.opened)
		g.opened = nil
	}
}

// wait returns what is closed when the gate opens, nil if it is open.
func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}
