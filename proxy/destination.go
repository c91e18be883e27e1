package proxy

import (
	"context"
	"log/slog"
	"net"

	"github.com/culvert-iot/culvert/proxy/stream"
	"github.com/culvert-iot/culvert/proxy/wsconn"
)

// DestinationConfig says where a device's side connects and what it serves.
type DestinationConfig struct {
	// Connection is where and as whom to connect. Mode is set by Run.
	Connection wsconn.Config
	// DialService connects the local target of a service. Its context ends when it has returned, or
	// earlier when the connection has ended; how long a dial may take is its own matter. It is called from
	// many goroutines.
	DialService func(ctx context.Context, service string) (net.Conn, error)
	// DefaultService names the service of a stream that names none, as a V1 source's do. It is given the
	// tunnel's services, which may be none, and must not block.
	DefaultService func(tunnelServices []string) (string, error)
	// Logger gets what happens to connections. nil discards it.
	Logger *slog.Logger
	// OnConnection, if set, is called for each connection that reached its target; what it returns, at its end.
	OnConnection Observer
	// Budget is shared with the process's other tunnels. nil leaves this one to its own limits.
	Budget *Budget
	// Resume keeps connections whose websocket is lost, for all tunnels of the process. nil keeps none.
	Resume *Resumption
	// Owner is the same for all websockets of one tunnel. It is compared; nil is this one alone.
	Owner any
	// OnOpen, if set, is called when the handshake is done.
	OnOpen func(channelID, subprotocol string)
	// OnServices, if set, is called with the tunnel's services, each time that the service names them. It must be
	// quick.
	OnServices func(services []string)
	// OnLost, if set, is called once with why the websocket ended, if it was not ctx that ended it. The websocket is closed
	// then, so that a new one may be made, while Run still gives connections to local targets up to a second to end
	// in order.
	OnLost func(error)
}

// Destination serves the streams of one tunnel, over one websocket. V1, V2 and V3 sources are answered in
// their own form, stream by stream.
type Destination struct {
	link
	cfg DestinationConfig
}

// NewDestination returns a Destination that has not connected yet.
func NewDestination(cfg DestinationConfig) *Destination { return &Destination{cfg: cfg} }

// Run connects, and serves until the websocket ends or ctx does. It always returns an error:
// *wsconn.HandshakeError when the service refused the tokens, *wsconn.CloseError when it closed the
// websocket, *stream.ProtocolError when what it sent is no tunnel, ctx's cause when ctx ended (streams were
// reset then and the websocket closed), others when the network failed. Call it once.
func (d *Destination) Run(ctx context.Context) error {
	cfg := d.cfg.Connection
	cfg.Mode = "destination"
	conn, err := wsconn.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	mux := stream.NewDestination(stream.DestinationConfig{
		Config: stream.Config{
			Transport: conn, Logger: d.cfg.Logger, OnStream: conn.RequirePong, OnServices: d.cfg.OnServices,
			Observer: d.cfg.OnConnection, Budget: d.cfg.Budget, Resume: resumption(d.cfg.Resume), Owner: d.cfg.Owner, OnLost: d.cfg.OnLost,
		},
		Dial:           d.cfg.DialService,
		DefaultService: d.cfg.DefaultService,
	})
	if d.cfg.OnOpen != nil {
		d.cfg.OnOpen(conn.ChannelID(), conn.Subprotocol())
	}
	return d.run(ctx, conn, mux)
}
