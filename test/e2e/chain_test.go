package e2e

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/pki"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// chain is a relay and both proxies in this process, over TLS: the data path without MQTT and daemon.
type chain struct {
	store    *tunnels.Store
	relay    *relay.Relay
	tls      *tls.Config
	endpoint string
	tunnel   tunnels.Opened
	source   *proxy.Source
}

// dialer connects a service's target.
type dialer func(ctx context.Context, service string) (net.Conn, error)

// newChain opens a tunnel with services and connects both sides to it.
func newChain(t testing.TB, form proxy.Form, cutting relay.Cutting, services []string, dial dialer) *chain {
	t.Helper()
	c := &chain{store: tunnels.New(tunnels.Config{Region: "eu-west-1", Account: "123456789012"})}
	c.relay = relay.New(relay.Config{Store: c.store, Cutting: cutting})
	authority, err := pki.New("chain")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: c.relay, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_ = server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
	}()
	c.endpoint = "wss://" + l.Addr().String()
	c.tls = &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}

	var destination *tunnels.DestinationConfig
	if len(services) > 0 {
		destination = &tunnels.DestinationConfig{ThingName: "pi-1", Services: services}
	}
	if c.tunnel, err = c.store.Open(tunnels.OpenInput{Destination: destination}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	there := make(chan struct{})
	arrived := sync.OnceFunc(func() { close(there) })
	config := proxy.DestinationConfig{
		Connection:     c.connection(c.tunnel.DestinationToken),
		DialService:    dial,
		DefaultService: func([]string) (string, error) { return "default", nil },
		// The relay tells the services when it knows of the destination; its answer to the handshake may come before.
		OnServices: func([]string) { arrived() },
	}
	if len(services) == 0 {
		config.OnOpen = func(string, string) { arrived() }
	}
	d := proxy.NewDestination(config)
	running.Go(func() { _ = d.Run(ctx) })
	<-there
	c.source = proxy.NewSource(proxy.SourceConfig{Connection: c.connection(c.tunnel.SourceToken), Form: form})
	running.Go(func() { _ = c.source.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = server.Close()
		c.relay.Close()
		for _, v := range c.relay.Violations() {
			t.Errorf("the relay saw a violation: %v", &v)
		}
	})
	select {
	case <-c.source.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the source did not connect within 10 s")
	}
	return c
}

func (c *chain) connection(token string) proxy.Connection {
	return proxy.Connection{Endpoint: c.endpoint, AccessToken: secret.New(token), TLS: c.tls, NetDial: new(netdial.Dialer).DialContext}
}

// open connects to service and returns the client's end.
func (c *chain) open(t testing.TB, service string) net.Conn {
	t.Helper()
	local, remote := tcpPair(t)
	if err := c.source.Open(context.Background(), service, remote); err != nil {
		t.Fatal(err)
	}
	return local
}

func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	a, b, err := harness.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// echoServer answers every byte on a loopback port.
func echoServer(t testing.TB) (address string) {
	return server(t, harness.Echo)
}

// server runs handle for each connection to a loopback port, which it returns.
func server(t testing.TB, handle func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		if err := harness.Serve(l, &all, handle); err != nil {
			t.Errorf("a server: %v", err)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func dialTo(address string) dialer {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
}
