package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/proxy/stream"
	"github.com/culvert-iot/culvert/proxy/wsconn"
)

// shutdownTimeout bounds the orderly end: resets sent, websocket closed. A daemon that must stop has 3 s for all of its
// tunnels. One that hands its connections over cuts the websocket much earlier (see stream).
const shutdownTimeout = 2 * time.Second

// ErrLeave is a cause for the end of Run's context. It ends the websocket and keeps the connections that can be
// resumed, which wait for the next one.
var ErrLeave = errors.New("the websocket is left")

// ServiceStats counts one service's connections and bytes over one websocket's life.
type ServiceStats = stream.ServiceStats

// Stats is what a tunnel is doing.
type Stats struct {
	Connected   bool           `json:"connected"`
	ChannelID   string         `json:"channel_id,omitempty"`  // names the websocket session for AWS support
	Subprotocol string         `json:"subprotocol,omitempty"` // what the service chose
	Services    []ServiceStats `json:"services,omitempty"`
}

// multiplexer is what both sides of a tunnel have in common.
type multiplexer interface {
	Serve() error
	Shutdown(ctx context.Context)
	Leave(ctx context.Context)
	Stats() []stream.ServiceStats
}

// link is one websocket's life, shared by Destination and Source.
type link struct {
	mu    sync.Mutex
	stats Stats
	mux   multiplexer
}

// run serves mux on conn until the websocket ends, or ctx, which makes it end in order.
func (l *link) run(ctx context.Context, conn *wsconn.Conn, mux multiplexer) error {
	l.mu.Lock()
	l.mux = mux
	l.stats = Stats{Connected: true, ChannelID: conn.ChannelID(), Subprotocol: conn.Subprotocol()}
	l.mu.Unlock()

	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if errors.Is(context.Cause(ctx), ErrLeave) {
			mux.Leave(limit)
		} else {
			mux.Shutdown(limit)
		}
	})
	err := mux.Serve()
	if !stop() {
		<-stopped
		err = context.Cause(ctx)
	}
	l.mu.Lock()
	l.stats.Connected = false
	l.mu.Unlock()
	return err
}

// Stats returns a snapshot. It may be called at any time; counts stay after the end.
func (l *link) Stats() Stats {
	l.mu.Lock()
	s, mux := l.stats, l.mux
	l.mu.Unlock()
	if mux != nil {
		s.Services = mux.Stats()
	}
	return s
}
