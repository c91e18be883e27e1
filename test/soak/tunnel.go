package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/internal/socketpair"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/proxy/stream"
	"github.com/culvert-iot/culvert/proxy/wsconn"
)

// tunnel is one open tunnel and the operator's side of it. When its AWS tunnel is closed it goes on with another.
type tunnel struct {
	index int
	plan  tunnelPlan
	run   *run

	resume *proxy.Resumption // nil where the source knows nothing of it

	tokens     sync.Mutex // held while tokens change
	conditions sync.Mutex // held while the relay holds conditions for it
	serial     sync.Mutex // where a service carries one connection at a time: held for each

	mu         sync.Mutex
	id         string
	token      string        // of the source
	client     string        // the client token that goes with it
	renewed    chan struct{} // closed when token changes
	source     carrier       // nil while there is none
	count      int           // sources so far
	needDevice time.Time     // the device must have connected after this
	needSource int           // the source must be this one at least
}

// carrier is an operator's side of a tunnel: proxy.Source, or one that speaks no records.
type carrier interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	Open(ctx context.Context, service string, local net.Conn) error
}

// ID is the AWS tunnel's, at present.
func (t *tunnel) ID() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.id
}

func (t *tunnel) generation() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// expectDevice says that the device's connection of before a time is lost, or will be.
func (t *tunnel) expectDevice(after time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if after.After(t.needDevice) {
		t.needDevice = after
	}
}

func (t *tunnel) expectSource(generation int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.needSource = max(t.needSource, generation)
}

// renew gives the operator a new token, and with it a new source.
func (t *tunnel) renew(id, token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token == "" {
		return
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	t.id, t.token, t.client = id, token, hex.EncodeToString(b[:])
	t.needSource = t.count + 1
	if t.renewed != nil {
		close(t.renewed)
	}
	t.renewed = make(chan struct{})
}

// operate keeps a source connected until ctx ends.
func (t *tunnel) operate(ctx context.Context) {
	defer t.resume.Close()
	for ctx.Err() == nil {
		t.mu.Lock()
		token, client, renewed := t.token, t.client, t.renewed
		t.mu.Unlock()
		if renewed == nil {
			pause(ctx, 10*ms)
			continue
		}
		c := t.newCarrier(proxy.Connection{
			Endpoint: t.run.box.RelayURL, AccessToken: secret.New(token), ClientToken: secret.New(client), TLS: t.run.tls,
		})
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- c.Run(running) }()
		var err error
		var cut <-chan time.Time
		for up := c.Ready(); err == nil; {
			select {
			case <-up:
				up = nil
				t.mu.Lock()
				t.source = c
				t.count++
				t.mu.Unlock()
			case <-renewed:
				if t.resume == nil {
					stop()
					err = <-ended
					continue
				}
				// A source that is told to stop ends its connections: this one loses its websocket instead.
				renewed, cut = nil, time.After(0)
			case <-cut:
				t.run.relayFaults().Cut(source(t))
				cut = time.After(100 * ms)
			case err = <-ended:
			}
		}
		stop()
		t.mu.Lock()
		up := t.source == c
		t.source = nil
		t.mu.Unlock()
		if _, excused := t.run.ledger.disturbed(t.index); up && !excused && ctx.Err() == nil {
			t.run.ledger.violated("tunnel %d: the source's websocket ended though no fault was felt: %v", t.index, err)
		}
		t.run.ledger.note("tunnel %d: source ended: %v", t.index, err)
		pause(ctx, 100*ms)
	}
}

func (t *tunnel) newCarrier(c proxy.Connection) carrier {
	if t.plan.half || !t.plan.form.Connection {
		return proxy.NewSource(proxy.SourceConfig{Connection: c, Form: t.plan.form, Resume: t.resume})
	}
	return &plainSource{connection: c, form: t.plan.form, ready: make(chan struct{})}
}

// carrier returns the present source once there is one; nil when ctx ends before.
func (t *tunnel) carrier(ctx context.Context) (c carrier) {
	for {
		t.mu.Lock()
		c = t.source
		t.mu.Unlock()
		if c != nil || !pause(ctx, 20*ms) {
			return c
		}
	}
}

// open begins a connection, and waits where the older form has room for one only.
func (t *tunnel) open(ctx context.Context, service string, tcp bool) (net.Conn, error) {
	for {
		c := t.carrier(ctx)
		if c == nil {
			return nil, ctx.Err()
		}
		local, remote, err := socketPair(tcp)
		if err != nil {
			return nil, err
		}
		if err = c.Open(ctx, service, remote); err == nil {
			return local, nil
		}
		_, _ = local.Close(), remote.Close()
		if !errors.Is(err, proxy.ErrBusy) && !errors.Is(err, proxy.ErrFull) || !pause(ctx, 5*ms) {
			return nil, err
		}
	}
}

// plainSource is a source as others have it: it speaks no records.
type plainSource struct {
	connection proxy.Connection
	form       stream.Form
	ready      chan struct{}
	source     *stream.Source
}

// Run connects, and carries connections until the websocket or ctx ends.
func (p *plainSource) Run(ctx context.Context) error {
	cfg := p.connection
	cfg.Mode = "source"
	conn, err := wsconn.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	p.source = stream.NewSource(stream.SourceConfig{
		Config: stream.Config{Transport: conn, OnStream: conn.RequirePong}, Form: p.form,
	})
	close(p.ready)
	defer context.AfterFunc(ctx, func() { p.source.Shutdown(ctx) })()
	return p.source.Serve()
}

// Ready is closed when the websocket stands.
func (p *plainSource) Ready() <-chan struct{} { return p.ready }

// Open carries local to service.
func (p *plainSource) Open(_ context.Context, service string, local net.Conn) error {
	return p.source.Open(service, local)
}

// socketPair returns both ends of a local connection.
func socketPair(tcp bool) (a, b net.Conn, err error) {
	if !tcp {
		return socketpair.New()
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = new(net.Dialer).DialContext(context.Background(), "tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if b, err = l.Accept(); err != nil {
		_ = a.Close()
	}
	return a, b, err
}
