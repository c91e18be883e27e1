package tunnels

import (
	"fmt"
	"time"
)

// Behaviour answers the questions that the service's public documents leave open. The zero value is the
// stricter answer; where one answer is documented, or implied by a documented use, the zero value is that one.
type Behaviour struct {
	// RotationKeepsConnection lets a live websocket stand when its token is rotated away; only the token can
	// never be used again. False: the rotation ends the connection at once, before the notification goes out.
	RotationKeepsConnection bool

	// OldTokenWorks is how long a token can still be used after it was rotated away, as when the news of it needs time
	// to reach all of a service. Zero: it is refused at once.
	OldTokenWorks time.Duration

	// RotationNotifiesWithoutConfig makes a rotation of the destination without destinationConfig notify the
	// tunnel's stored thing with its stored services. False: such a rotation is silent.
	RotationNotifiesWithoutConfig bool

	// ClientTokenSurvivesRotation accepts the client token of a rotated access token with its successor.
	// False: a client token can never serve another access token.
	ClientTokenSurvivesRotation bool

	// RotateBeforeConnectFails refuses to rotate a tunnel to which neither side ever connected.
	// False, as documented uses imply: it works.
	RotateBeforeConnectFails bool

	// RefusalStatus is the HTTP status of refused handshakes. 0 means 400, which was seen on the real service.
	RefusalStatus int
	// RefusalWithoutBody leaves the reason out of the body.
	RefusalWithoutBody bool
	// RefusalReasonHeader puts a reason into the header X-Status-Reason.
	RefusalReasonHeader bool

	// SamePairWaits refuses a pair of access token and client token while its old connection stands, so that a
	// peer whose network was cut must wait until the service notices it. False, as the protocol guide says of
	// any valid connection: it replaces the old one.
	SamePairWaits bool

	// RotationChangesServices makes the destinationConfig of a rotation the tunnel's own: the next SERVICE_IDS
	// shows its services. False: it only fills the notification.
	RotationChangesServices bool
}

// NotFoundError says that there is no such tunnel, or that it is closed and the call needs an open one.
type NotFoundError struct {
	ID     string // tunnel id or ARN
	Closed bool
}

func (e *NotFoundError) Error() string {
	if e.Closed {
		return fmt.Sprintf("tunnel %s is closed", e.ID)
	}
	return fmt.Sprintf("tunnel %s not found", e.ID)
}

// LimitError says that too many tunnels are open.
type LimitError struct{ Limit int }

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit of %d open tunnels exceeded", e.Limit)
}

// InvalidError says that a request contradicts itself or the tunnel's state.
type InvalidError struct{ Message string }

func (e *InvalidError) Error() string { return e.Message }
