package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// Both ends of a tunnel in one program. The sandbox's relay stands in for AWS, which would have given the tokens.
func Example() {
	store := tunnels.New(tunnels.Config{Region: "eu-west-1", Account: "123456789012"})
	tunnel, err := store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SHOUT"}}})
	if err != nil {
		log.Fatal(err)
	}
	service := relay.New(relay.Config{Store: store})
	defer service.Close()
	server := httptest.NewTLSServer(service)
	defer server.Close()
	connection := func(token string) proxy.Connection {
		return proxy.Connection{
			Endpoint:    strings.Replace(server.URL, "https", "wss", 1),
			AccessToken: secret.New(token), // anything that can Reveal it
			TLS:         &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	// The device's end: a service name becomes a connection to something local.
	opened := make(chan struct{})
	device := proxy.NewDestination(proxy.DestinationConfig{
		Connection:  connection(tunnel.DestinationToken),
		OnServices:  func([]string) { close(opened) }, // the service knows now that the device is there
		DialService: func(context.Context, string) (net.Conn, error) { return shout(), nil },
	})
	go func() { log.Println("device:", device.Run(ctx)) }()
	<-opened

	// The operator's end: a connection of ours is carried to the service.
	operator := proxy.NewSource(proxy.SourceConfig{Connection: connection(tunnel.SourceToken), Form: proxy.V3})
	go func() { log.Println("operator:", operator.Run(ctx)) }()
	ours, carried := net.Pipe()
	if err := operator.Open(ctx, "SHOUT", carried); err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(ours, "hello")
	answer := make([]byte, 5)
	if _, err := io.ReadFull(ours, answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(answer))
	// Output: HELLO
}

// shout is a service that answers in capitals.
func shout() net.Conn {
	near, far := net.Pipe()
	go func() {
		buf := make([]byte, 100)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			_, _ = far.Write([]byte(strings.ToUpper(string(buf[:n]))))
		}
	}()
	return near
}
