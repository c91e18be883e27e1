package wsconn

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stages are the points at which a service can fall silent during a handshake.
var stages = map[string]struct {
	endpoint string
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
}{
	"before the connection": {"ws://h.example", func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}},
	"before the request is taken": {"ws://h.example", pipeDialer(func(p *peer) { _, _ = p.Write(nil) })}, // blocks until the client closes,
	"in TLS":                      {"wss://h.example", pipeDialer(func(p *peer) { _, _ = io.Copy(io.Discard, p) })},
	"before the answer":           {"ws://h.example", pipeDialer(func(p *peer) { _, _ = io.Copy(io.Discard, p) })},
	"within the answer": {"ws://h.example", pipeDialer(func(p *peer) {
		answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")(p)
		_, _ = io.Copy(io.Discard, p)
	})},
}

func TestASilentServiceIsGivenUpAfterTheHandshakeTimeout(t *testing.T) {
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig(stage.dial)
				cfg.Endpoint, cfg.HandshakeTimeout = stage.endpoint, 12*time.Second
				start := time.Now()
				_, err := Dial(t.Context(), cfg)
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connecting to h.example: no answer to the websocket handshake within 12s") {
					t.Errorf("error = %v", err)
				}
				if d := time.Since(start); d != 12*time.Second {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}

func TestAHandshakeEndsAtOnceWithItsContext(t *testing.T) {
	reason := errors.New("shutting down")
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(3*time.Second, func() { cancel(reason) })
				cfg := testConfig(stage.dial)
				cfg.Endpoint = stage.endpoint
				start := time.Now()
				if _, err := Dial(ctx, cfg); !errors.Is(err, reason) {
					t.Errorf("error = %v", err)
				}
				if d := time.Since(start); d != 3*time.Second {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}
