package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// pahoOptions is a device that gives up at the first failure, so that tests see each one.
func pahoOptions(b *Broker, id string, cfg *tls.Config) *paho.ClientOptions {
	address := b.Addr()
	if len(cfg.NextProtos) > 0 {
		address = b.ALPNAddr()
	}
	return paho.NewClientOptions().AddBroker("ssl://" + address).SetClientID(id).SetTLSConfig(cfg).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(soon).SetOrderMatters(false)
}

func pahoConnect(t *testing.T, o *paho.ClientOptions) paho.Client {
	t.Helper()
	c := paho.NewClient(o)
	token := c.Connect()
	if !token.WaitTimeout(soon) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// receive waits for want, past what came before: a message whose acknowledgement was lost comes again.
func receive(t *testing.T, ch <-chan string, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for {
		select {
		case got := <-ch:
			if got == want {
				return
			}
		case <-ctx.Done():
			t.Fatalf("did not receive %q", want)
		}
	}
}

// A real client library on both ports: subscribe, an outage, replay of what was missed, takeover.
func TestRealClient(t *testing.T) {
	for _, alpn := range []bool{false, true} {
		t.Run(fmt.Sprintf("ALPN %v", alpn), func(t *testing.T) {
			cfg, ca := newConfig(t)
			cfg.ListenALPN = "127.0.0.1:0"
			b := start(t, cfg)
			device := deviceTLS(t, ca, thing)
			if alpn {
				device.NextProtos = []string{ALPN}
			}
			messages, lost := make(chan string, 10), make(chan string, 10)
			options := func() *paho.ClientOptions {
				return pahoOptions(b, "pi-1-tunnel", device).SetCleanSession(false).
					SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { messages <- string(m.Payload()) }).
					SetConnectionLostHandler(func(paho.Client, error) { lost <- "lost" })
			}
			c := pahoConnect(t, options())
			if token := c.Subscribe(notify, 1, nil); !token.WaitTimeout(soon) || token.Error() != nil {
				t.Fatalf("subscribe: %v", token.Error())
			}
			if _, err := b.Publish(notify, []byte("first"), 1); err != nil {
				t.Fatal(err)
			}
			receive(t, messages, "first")

			b.Stop()
			receive(t, lost, "lost")
			if _, err := b.Publish(notify, []byte("second"), 1); err != nil {
				t.Fatal(err)
			}
			if err := b.Restart(); err != nil {
				t.Fatal(err)
			}
			pahoConnect(t, options())
			receive(t, messages, "second")

			pahoConnect(t, options()) // the same client id
			receive(t, lost, "lost")
			if _, err := b.Publish(notify, []byte("third"), 1); err != nil {
				t.Fatal(err)
			}
			receive(t, messages, "third")
		})
	}
}

func TestRealClientSeesRefusalsAsDrops(t *testing.T) {
	cfg, ca := newConfig(t)
	b := start(t, cfg)
	device := deviceTLS(t, ca, thing)
	c := paho.NewClient(pahoOptions(b, "somebody-else", device))
	if token := c.Connect(); !token.WaitTimeout(soon) || token.Error() == nil {
		t.Error("connected as another thing")
	}
	lost := make(chan string, 1)
	c = pahoConnect(t, pahoOptions(b, thing, device).SetConnectionLostHandler(func(paho.Client, error) { lost <- "lost" }))
	c.Subscribe("#", 1, nil)
	receive(t, lost, "lost")
}

// Hostile bytes after the handshake end one connection and nothing else.
func TestGarbageEndsOneConnection(t *testing.T) {
	cfg, ca := newConfig(t)
	b := start(t, cfg)
	device := deviceTLS(t, ca, thing)
	good := dial(t, b.Addr(), device)
	good.session(thing, true)
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x10\xff\xff\xff\x7f", "\x82\x00", "\x10\x00", "\x30\x03\x00\x05a", "\xf0\x00"} {
		c := dial(t, b.Addr(), device)
		if _, err := c.Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		c.wantDrop()
		c = dial(t, b.Addr(), device)
		c.session("pi-1-tunnel", true)
		if _, err := c.Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		c.wantDrop()
	}
	plain, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Write([]byte("\x10\x10\x00\x04MQTT")); err != nil {
		t.Fatal(err)
	}
	_ = plain.SetReadDeadline(time.Now().Add(soon))
	for buf := make([]byte, 64); ; {
		if _, err := plain.Read(buf); err != nil {
			break // a TLS alert may come first
		}
	}
	good.ping()
	good.want(13)
}
