package proxy

import (
	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/stream"
	"github.com/culvert-iot/culvert/proxy/wsconn"
)

// Names of the packages below that users of this one need, so that they import nothing beneath it.
type (
	// Connection says where to connect and as whom.
	Connection = wsconn.Config
	// Secret is a token that must never be shown.
	Secret = wsconn.Secret
	// HandshakeError says how the service refused the handshake.
	HandshakeError = wsconn.HandshakeError
	// CloseError says how the service closed the websocket.
	CloseError = wsconn.CloseError
	// Observer is called for each connection to a local target.
	Observer = stream.Observer
	// Opened describes a connection whose target is connected.
	Opened = stream.Opened
	// Closed describes how a connection ended.
	Closed = stream.Closed
	// Answerer learns that the destination has answered; see [stream.Answerer].
	Answerer = stream.Answerer
	// Breaker learns that its connection did not end in order; see [stream.Breaker].
	Breaker = stream.Breaker
	// Reason is why a connection ended; see [stream.Reason].
	Reason = stream.Reason
	// ProtocolError says what the far side sent against the protocol.
	ProtocolError = stream.ProtocolError
)

// Budget is what the tunnels of a process share: memory, connections and dials; see [stream.Budget].
type Budget = stream.Budget

// BudgetConfig says how much the tunnels of a process may use; see [stream.BudgetConfig].
type BudgetConfig = stream.BudgetConfig

// NewBudget returns a budget for all tunnels of a process.
func NewBudget(cfg BudgetConfig) *Budget { return stream.NewBudget(cfg) }

// The reasons that a [Breaker] may need to distinguish.
const (
	ByPeer      = stream.ByPeer
	PeerStopped = stream.PeerStopped
	PeerForgot  = stream.PeerForgot
	PeerRefused = stream.PeerRefused
	PeerLimit   = stream.PeerLimit
)

// ErrDead ends a websocket that was silent for too long.
var ErrDead = wsconn.ErrDead

// ErrMalformed is wrapped by the error of a websocket whose bytes were no message.
var ErrMalformed = frame.ErrMalformed
