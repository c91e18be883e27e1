package relay

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// Cutting says how the relay makes websocket messages of the frames that it forwards. Frames themselves are
// never altered, and their order never changes unless Config.MixesConnections says so.
type Cutting int

const (
	// Awkward cuts and merges at random, from single bytes up to frame.MaxWebsocketMessage.
	Awkward Cutting = iota
	// Straight sends what is ready in as few messages as possible. For benchmarks.
	Straight
	// Aligned sends each frame as a message of its own, for peers that can take no other.
	Aligned
)

// PongPolicy says which pings are answered.
type PongPolicy int

const (
	// PongsAfterSource answers a destination only once a source was connected; the service owes no more.
	PongsAfterSource PongPolicy = iota
	// PongsAlways answers every ping.
	PongsAlways
	// PongsNever answers none.
	PongsNever
)

// Ending is how the relay ends a websocket. The service's close codes are not documented.
type Ending struct {
	Code   int    // 0: a close frame without a code
	Reason string // at most 123 bytes
	Bare   bool   // no close frame, only the end of the TCP connection
}

// Event is one tunnel message that the relay saw or sent by itself.
type Event struct {
	Tunnel  string
	From    tunnels.Mode   // "" is the service itself
	To      tunnels.Mode   // "" when the message goes no further
	Message *frame.Message // valid only during the call
}

// Config is what a Relay is made of. Only Store is required.
type Config struct {
	Store   *tunnels.Store
	Cutting Cutting
	Seed    uint64 // of the random cuts; 0 takes another one each time

	// IdleTimeout ends a connection from which neither a message nor a ping came for so long. 0 means 60 s,
	// as the service's load balancer has it.
	IdleTimeout time.Duration
	// Buffer bounds the bytes held for each direction of a tunnel; beyond it the relay stops reading from the
	// sender. 0 means 1 MiB.
	Buffer int
	// ReceiveBuffer is the kernel's receive buffer of each connection in bytes; 0 leaves it to the system.
	// With a rate limit a small one keeps megabytes from queueing before the relay.
	ReceiveBuffer int
	// Subprotocols are those the relay speaks, best first; nil means 3.0, 2.0 and 1.0.
	Subprotocols []string
	Pongs        PongPolicy
	// Endings are used in turn when the store ends a connection. nil: a code and a reason of its own for each
	// cause.
	Endings []Ending
	// AddServiceToV1 makes the relay name a tunnel's only service in the messages of a source that names none,
	// and take the name out of the answers. Whether the real service does so is not documented.
	AddServiceToV1 bool
	// DropsEmptyData makes the relay drop DATA without a payload. Two Culverts agree on records with such a message,
	// and speak plain V3 without it.
	DropsEmptyData bool
	// MixesConnections keeps the order of messages within each connection of a stream only: those of different
	// connections overtake each other at random, by up to mixDepth messages.
	MixesConnections bool

	// Observe is called with each message in the order of its tunnel. It must return quickly.
	Observe func(Event)
	Logger  *slog.Logger // nil: silent
}

// Relay is the handler of the data endpoint. Close ends all connections; an http.Server cannot.
type Relay struct {
	cfg      Config
	faults   *Faults
	upgrader websocket.Upgrader
	closing  chan struct{}
	running  sync.WaitGroup

	mu         sync.Mutex // taken after a link's lock, never before it
	closed     bool
	links      map[string]*link
	live       map[*peer]struct{}
	violations []Violation
	count      uint64 // connections so far
	ending     int    // next of cfg.Endings
}

const subprotocolPrefix = "aws.iot.securetunneling-"

// New returns a Relay that serves the tunnels of cfg.Store.
func New(cfg Config) *Relay {
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = time.Minute
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = 1 << 20
	}
	if cfg.Subprotocols == nil {
		cfg.Subprotocols = []string{subprotocolPrefix + "3.0", subprotocolPrefix + "2.0", subprotocolPrefix + "1.0"}
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64() //nolint:gosec // chooses where to cut, protects nothing
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		cfg: cfg, closing: make(chan struct{}),
		links: map[string]*link{}, live: map[*peer]struct{}{},
		upgrader: websocket.Upgrader{
			ReadBufferSize: 4 << 10, // larger reads pass it by
			// A message must leave in one piece: one websocket frame, one write.
			WriteBufferSize: frame.MaxWebsocketMessage + 14,
			WriteBufferPool: &sync.Pool{},
			Subprotocols:    cfg.Subprotocols,
			CheckOrigin:     func(*http.Request) bool { return true }, // browsers are peers, too
		},
	}
	r.faults = newFaults(r)
	return r
}

// Faults is what can be made to go wrong.
func (r *Relay) Faults() *Faults { return r.faults }

// Close ends every connection and returns when all is over, within some 2 s.
func (r *Relay) Close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.closing)
	}
	r.mu.Unlock()
	r.running.Wait()
}

// begin counts a handler in, unless the relay is closed.
func (r *Relay) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.running.Add(1)
	}
	return !r.closed
}

func (r *Relay) link(tunnel string) *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.links[tunnel]
	if l == nil {
		l = newLink(r, tunnel)
		r.links[tunnel] = l
	}
	return l
}

// Connections is how many websockets were opened so far.
func (r *Relay) Connections() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// Violations returns what peers did against the rules so far, oldest first.
func (r *Relay) Violations() []Violation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.violations)
}

// record keeps a violation; a peer that repeats itself cannot fill the memory.
func (r *Relay) record(v Violation) {
	r.cfg.Logger.Warn("protocol violation", "session", v.Tunnel, "reason", string(v.Rule), "error", v.Detail)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.violations) < 1000 {
		r.violations = append(r.violations, v)
	}
}

// endingFor chooses how a connection ends that the store ended.
func (r *Relay) endingFor(c tunnels.Cause) Ending {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.cfg.Endings); n > 0 {
		r.ending++
		return r.cfg.Endings[(r.ending-1)%n]
	}
	switch c {
	case tunnels.Replaced:
		return Ending{Code: websocket.ClosePolicyViolation, Reason: "Replaced by a new connection"}
	case tunnels.Revoked:
		return Ending{Code: websocket.CloseServiceRestart, Reason: "Token is revoked"} // one peer expects this code
	case tunnels.Expired:
		return Ending{Code: websocket.CloseNormalClosure, Reason: "Tunnel is expired"}
	default:
		return Ending{Code: websocket.CloseNormalClosure, Reason: "Tunnel is closed"}
	}
}
