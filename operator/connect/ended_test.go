package connect

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/culvert-iot/culvert/proxy"
)

// A connection that ends with its websocket is explained by what comes of the session: another websocket, or its end. The
// websocket ends a moment before the session knows it.
func TestAWebsocketThatHasEndedIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := &Config{}
		s := newSession(cfg, &tunnel{id: "a"})
		source := proxy.NewSource(proxy.SourceConfig{})
		s.source = source
		far := &farEnd{}
		far.source.Store(source)
		c := &conn{tunnel: &Tunnel{cfg: cfg, thing: "pi-1", session: s}, service: "SSH", far: far}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = source.Run(ctx)
		why := make(chan error, 1)
		go func() { why <- c.lost(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-why:
			t.Fatalf("while the session does not know of the end: %v", err)
		default:
		}
		s.err = &Error{Reason: TunnelClosed, Text: "the tunnel was closed or has expired"}
		s.publish(nil)
		close(s.done)
		if err, ok := errors.AsType[*Error](<-why); !ok || err.Reason != TunnelClosed {
			t.Errorf("after the session's end: %v, want its reason", err)
		}
	})
}
