package session

import (
	"errors"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
)

// EventKind says what happened.
type EventKind string

// The kinds of Event. A tunnel is open while one of its websockets stands: one that is lost and comes back
// was closed and opened.
const (
	TunnelOpened     EventKind = "tunnel_opened"
	TunnelClosed     EventKind = "tunnel_closed"
	ConnectionOpened EventKind = "connection_opened"
	ConnectionClosed EventKind = "connection_closed"
)

// EventKinds are all of them.
func EventKinds() []EventKind {
	return []EventKind{TunnelOpened, TunnelClosed, ConnectionOpened, ConnectionClosed}
}

// Reasons why a tunnel was closed. Those of connections are proxy.Closed's, and the two below them.
const (
	ReasonLost      = "lost"      // the network failed, or was silent for too long
	ReasonClosed    = "closed"    // the service closed the websocket
	ReasonViolation = "violation" // what came was no tunnel
	ReasonExpired   = "expired"   // 12 hours have passed
	ReasonStopped   = "stopped"   // culvertd was told to stop

	ReasonIdle        = "idle"         // of a connection: its service's idle_timeout
	ReasonMaxDuration = "max_duration" // of a connection: its service's max_duration
)

// Event is what Config.Observe is called with. It holds no token.
type Event struct {
	Kind      EventKind
	Time      time.Time
	Session   string // the first 8 hex digits of the token's SHA-256
	ChannelID string // of the websocket
	Region    string

	// Of a tunnel.
	Services    []string // of the notification
	Connections uint64   // closed: that there were in all

	// Of a connection.
	Service    string
	Target     string // as the configuration writes it
	Stream     int32
	Connection uint32

	// Of what was closed.
	BytesIn, BytesOut uint64 // to and from local targets
	Duration          time.Duration
	Reason            string
	Resumed           int           // of a connection: how often it went on over another websocket
	Detached          time.Duration // of a connection: without a websocket, in all
	Err               error         // may be nil
}

// tunnelReason finds the reason for the end of a websocket.
func tunnelReason(err error) string {
	var closed *proxy.CloseError
	var violation *proxy.ProtocolError
	switch {
	case errors.Is(err, errShutdown):
		return ReasonStopped
	case errors.Is(err, errTooOld):
		return ReasonExpired
	case errors.As(err, &closed):
		return ReasonClosed
	case errors.As(err, &violation), errors.Is(err, proxy.ErrMalformed):
		return ReasonViolation
	}
	return ReasonLost
}

// connectionReason puts the limits of a service before what the data path saw of them.
func connectionReason(c proxy.Closed) string {
	var idle *services.IdleError
	var over *services.DurationError
	switch {
	case errors.As(c.Err, &idle):
		return ReasonIdle
	case errors.As(c.Err, &over):
		return ReasonMaxDuration
	}
	return string(c.Reason)
}
