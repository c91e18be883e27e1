package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/culvert-iot/culvert/internal/accept"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/proxy/stream"
	"github.com/culvert-iot/culvert/proxy/wsconn"
)

// Form is how a source writes its messages.
type Form = stream.Form

// The forms that a destination may need. V3 is the current one; the AWS IoT Device Client and the
// Greengrass component know V1 only.
var (
	V1 = stream.V1
	V2 = stream.V2
	V3 = stream.V3
)

// ErrBusy is returned by Open where the form allows one connection a service and it is taken.
var ErrBusy = stream.ErrBusy

// SourceConfig says where an operator's side connects and how it speaks.
type SourceConfig struct {
	// Connection is where and as whom to connect. Mode is set by Run.
	Connection wsconn.Config
	// Form is V1 by its zero value: name one.
	Form Form
	// Logger gets what happens to connections. nil discards it.
	Logger *slog.Logger
	// Resume keeps connections whose websocket is lost, until another Source with the same one attaches them.
	// They must be to the same thing. nil keeps none.
	Resume *Resumption
	// OnOpen, if set, is called when the handshake is done.
	OnOpen func(channelID, subprotocol string)
}

// Source carries local connections to a tunnel's services, over one websocket.
type Source struct {
	link
	cfg SourceConfig

	ready  chan struct{}  // closed when the tunnel's services are known
	ended  chan struct{}  // closed when Run has returned
	source *stream.Source // after ready
}

// NewSource returns a Source that has not connected yet.
func NewSource(cfg SourceConfig) *Source {
	return &Source{cfg: cfg, ready: make(chan struct{}), ended: make(chan struct{})}
}

// Ready is closed once the websocket stands and the tunnel's services are known. It stays open when Run
// fails before that.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Done is closed when Run has returned.
func (s *Source) Done() <-chan struct{} { return s.ended }

// Services are the tunnel's services, after Ready. A tunnel may have none.
func (s *Source) Services() []string {
	select {
	case <-s.ready:
		return s.source.Services()
	default:
		return nil
	}
}

// Kept is how many connections of an earlier Source continue over this one, after Ready.
func (s *Source) Kept() int {
	select {
	case <-s.ready:
		return s.source.Kept()
	default:
		return 0
	}
}

// Run connects, and carries connections until the websocket ends or ctx does; see Destination.Run for
// what it returns. Call it once.
func (s *Source) Run(ctx context.Context) error {
	defer close(s.ended)
	cfg := s.cfg.Connection
	cfg.Mode = "source"
	conn, err := wsconn.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	mux := stream.NewSource(stream.SourceConfig{
		Config:    stream.Config{Transport: conn, Logger: s.cfg.Logger, OnStream: conn.RequirePong, Resume: resumption(s.cfg.Resume)},
		Form:      s.cfg.Form,
		Announced: conn.Subprotocol() != wsconn.SubprotocolV1,
	})
	announced := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(announced)
		select {
		case <-mux.Ready():
			s.source = mux
			close(s.ready)
		case <-ended:
		}
	}()
	if s.cfg.OnOpen != nil {
		s.cfg.OnOpen(conn.ChannelID(), conn.Subprotocol())
	}
	err = s.run(ctx, conn, mux)
	close(ended)
	<-announced
	return err
}

// errNotConnected is returned by Open when the tunnel never came up.
var errNotConnected = errors.New("the tunnel has ended before it was connected")

// Open carries local to service until either side ends it, and closes local then. It waits for Ready. When the
// websocket has ended it returns ErrEnded, and another error when it never stood. On an error local is left to the caller. An empty service is for tunnels without services.
func (s *Source) Open(ctx context.Context, service string, local net.Conn) error {
	select {
	case <-s.ready:
		return s.source.Open(service, local)
	case <-s.ended:
		select {
		case <-s.ready: // both have come: it was connected
			return ErrEnded
		default:
			return errNotConnected
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Serve opens a connection to service for each that l accepts, until l or ctx ends. Connections that the
// tunnel cannot take are closed, which the client sees, and reported to the logger. A lack of file descriptors
// is waited out.
func (s *Source) Serve(ctx context.Context, service string, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	accepting := accept.Acceptor{Listener: l, Warn: func(err error) {
		if s.cfg.Logger != nil {
			s.cfg.Logger.Warn("connections cannot be accepted for now", "service", service, "error", hint.Line(err))
		}
	}}
	for {
		local, err := accepting.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if err := s.Open(ctx, service, local); err != nil {
			_ = local.Close()
			if s.cfg.Logger != nil {
				s.cfg.Logger.Warn("connection refused", "service", service, "error", err)
			}
			if errors.Is(err, stream.ErrEnded) || errors.Is(err, errNotConnected) {
				return err
			}
		}
	}
}
