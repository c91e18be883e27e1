package stream

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// Transport is the part of a websocket that this package needs.
type Transport interface {
	// Read reads the byte stream of binary messages, across their borders.
	io.Reader
	// WriteBuffers sends one message made of bufs. Only one goroutine calls it. After it failed once it is
	// not called again; a Read that ends by itself then says more about why, and is waited for a moment.
	WriteBuffers(bufs ...[]byte) error
	// Close ends the websocket, also for a blocked Read or WriteBuffers, with a close code of RFC 6455.
	Close(code int, reason string) error
}

// Prober is a Transport that can report how much of the sent data the far side has processed.
type Prober interface {
	Transport
	// WriteProbe is WriteBuffers with a mark behind the message, which may have no bytes. Numbers grow.
	WriteProbe(probe uint64, bufs ...[]byte) error
	// OnProbe makes Read call f with the number of each mark that the far side has passed, and so all before it. It
	// need not report any. It is called before the first Read.
	OnProbe(f func(probe uint64))
}

// ProtocolError is a violation by the peer or the service that leaves the tunnel's state in doubt. It
// ends the websocket; a new one starts clean.
type ProtocolError struct{ Violation string }

// Error says what was violated.
func (e *ProtocolError) Error() string {
	return "tunnel protocol violated by the far side: " + e.Violation
}

// ErrEnded is returned for work on a tunnel whose websocket has ended.
var ErrEnded = errors.New("the tunnel's websocket has ended")

// Config is the configuration that both sides of a tunnel share.
type Config struct {
	Transport Transport
	Logger    *slog.Logger // nil discards
	// OnStream is called when a stream starts: from then on the service answers pings. It must be quick, and may be
	// called more than once.
	OnStream func()
	// OnServices is called with the tunnel's services, each time that the service names them. It must be quick, and
	// call nothing here.
	OnServices func(services []string)
	// Observer, if set, is called for each connection that reached its target; what it returns, at its end.
	Observer Observer
	// Budget is shared with other tunnels; nil leaves this one to its own limits.
	Budget *Budget
	// OnLost, if set, is called once with why the websocket ended, when it is closed and its connections may still need the
	// moment that Serve gives them to end. It is not called after Shutdown.
	OnLost func(error)
	// Resume, if set, lets connections to another program of this kind outlive the websocket, stay open in one
	// direction when the other has ended, and stall without holding up others. It is shared by the websockets
	// between which connections may move, and ends what still waits in it when it is closed.
	Resume *resume.Registry
	// Owner is the same for all websockets of one tunnel: connections that they leave behind count together. It is
	// compared. nil stands for this websocket alone.
	Owner any
	// StallTimeout is how long a target may take nothing while the tunnel waits for it; 0 means
	// DefaultStallTimeout.
	StallTimeout time.Duration
}
