package tunnels

import (
	"net/http"
	"regexp"
	"slices"
)

// Handshake is what a local proxy shows when it connects.
type Handshake struct {
	Mode        Mode
	Token       string
	ClientToken string // "" when none was sent
}

// Refusal is the answer to a handshake that is not admitted.
type Refusal struct {
	Status int
	Reason string // for the header X-Status-Reason; "" when it is not to be sent
	Body   string // "" when the answer has none
	Kind   RefusalKind
}

// RefusalKind tells refusals apart, whatever [Behaviour] makes of their text.
type RefusalKind string

// The reasons to refuse a handshake.
const (
	RefusedUnknownToken   RefusalKind = "unknown token"
	RefusedMode           RefusalKind = "wrong mode"
	RefusedClosed         RefusalKind = "tunnel closed"
	RefusedExpired        RefusalKind = "tunnel expired"
	RefusedRevoked        RefusalKind = "token revoked"
	RefusedUsed           RefusalKind = "token used"
	RefusedClientToken    RefusalKind = "client token malformed"
	RefusedClientMismatch RefusalKind = "client token of another connection"
	RefusedClientTaken    RefusalKind = "client token bound to another access token"
	RefusedWait           RefusalKind = "pair still connected"
)

// Only the text for a used token was seen on the real service; the others follow its form. The one for a pair
// that must wait names no final reason: the same pair may succeed later.
var refusals = map[RefusalKind]struct{ body, reason string }{
	RefusedUnknownToken:   {"Invalid access token: The access token is not valid for this endpoint.", "Invalid access token"},
	RefusedMode:           {"Invalid access token: The access token is not valid for this local proxy mode.", "Invalid local proxy mode"},
	RefusedClosed:         {"Invalid access token: The tunnel is closed.", "Tunnel is closed"},
	RefusedExpired:        {"Invalid access token: The access token has expired.", "Tunnel is expired"},
	RefusedRevoked:        {"Invalid access token: The access token was revoked.", "Token is revoked"},
	RefusedUsed:           {"Invalid access token: The access token was previously used and can not be used again.", "Token was used"},
	RefusedClientToken:    {"Invalid client token: The client token must match ^[a-zA-Z0-9-]{32,128}$.", "Invalid client token"},
	RefusedClientMismatch: {"Invalid client token: The access token is bound to another client token.", "Invalid client token"},
	RefusedClientTaken:    {"Invalid client token: The client token is bound to another access token.", "Invalid client token"},
	RefusedWait:           {"A local proxy is connected with this access token.", "Already connected"},
}

func (s *Store) refusal(k RefusalKind) *Refusal {
	r := &Refusal{Status: http.StatusBadRequest, Body: refusals[k].body, Kind: k}
	if s.behaviour.RefusalStatus != 0 {
		r.Status = s.behaviour.RefusalStatus
	}
	if s.behaviour.RefusalWithoutBody {
		r.Body = ""
	}
	if s.behaviour.RefusalReasonHeader {
		r.Reason = refusals[k].reason
	}
	return r
}

// Cause tells why the Store ended a connection.
type Cause int

// The causes. NotEnded is that of a connection that stands or ended by itself.
const (
	NotEnded     Cause = iota
	Replaced           // a new valid connection of the same side came
	Revoked            // its token was rotated away
	TunnelClosed       // CloseTunnel
	Expired            // the tunnel's life is over
)

func (c Cause) String() string {
	switch c {
	case NotEnded:
		return "not ended"
	case Replaced:
		return "replaced by a new connection"
	case Revoked:
		return "access token was rotated"
	case TunnelClosed:
		return "tunnel was closed"
	case Expired:
		return "tunnel expired"
	}
	return "unknown cause"
}

// Admission is the right to be connected. Its holder calls [Admission.Connected] once the connection stands, and
// [Admission.Release] when it is gone.
type Admission struct {
	Tunnel   string // id
	Mode     Mode
	Services []string // the tunnel's, as they were at this handshake

	store *Store
	side  *side
	ended chan struct{}
	cause Cause // set before ended is closed
}

// Ended is closed when the Store ends the connection.
func (a *Admission) Ended() <-chan struct{} { return a.ended }

// Cause tells why; NotEnded before Ended is closed.
func (a *Admission) Cause() Cause {
	select {
	case <-a.ended:
		return a.cause
	default:
		return NotEnded
	}
}

// Connected says that the connection stands and carries messages, which DescribeTunnel then tells.
func (a *Admission) Connected() {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if a.side.live == a {
		*a.side.state = ConnectionState{Connected, a.store.now()}
	}
}

// Release says that the connection is gone. More than one call does no harm.
func (a *Admission) Release() {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if a.side.live == a {
		a.side.live = nil
		*a.side.state = ConnectionState{Disconnected, a.store.now()}
	}
}

// The form of a client token (V3 protocol guide).
var clientTokenForm = regexp.MustCompile(`^[a-zA-Z0-9-]{32,128}$`)

// Admit decides on a handshake (V3 protocol guide): a token is for one side; without a client token it is
// spent by one success; with one, the same pair may come again; a client token serves one access token only
// among all open tunnels. Who is admitted replaces the connection that its side had. A refusal changes nothing.
func (s *Store) Admit(h Handshake) (*Admission, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	k := s.tokens[h.Token]
	if k == nil {
		return nil, s.refusal(RefusedUnknownToken)
	}
	if kind := s.validate(k, h); kind != "" {
		return nil, s.refusal(kind)
	}
	k.used = true
	if h.ClientToken != "" {
		k.clientToken = h.ClientToken
		s.clientTokens[h.ClientToken] = k
	}
	t, sd := k.tunnel, k.tunnel.sides[h.Mode]
	s.end(sd, Replaced)
	a := &Admission{Tunnel: t.ID, Mode: h.Mode, store: s, side: sd, ended: make(chan struct{})}
	if t.Destination != nil {
		a.Services = slices.Clone(t.Destination.Services)
	}
	t.connected = true
	sd.live = a
	return a, nil
}

func (s *Store) validate(k *token, h Handshake) RefusalKind {
	t := k.tunnel
	bound := s.clientTokens[h.ClientToken]
	switch {
	case k.mode != h.Mode:
		return RefusedMode
	case t.expired:
		return RefusedExpired
	case t.Status != Open:
		return RefusedClosed
	case k.revoked && s.now().Sub(k.revokedAt) >= s.behaviour.OldTokenWorks:
		return RefusedRevoked
	case h.ClientToken != "" && !clientTokenForm.MatchString(h.ClientToken):
		return RefusedClientToken
	case k.used && (k.clientToken == "" || h.ClientToken == ""):
		return RefusedUsed
	case k.used && k.clientToken != h.ClientToken:
		return RefusedClientMismatch
	case bound != nil && bound != k && !s.inherits(k, bound):
		return RefusedClientTaken
	case k.used && s.behaviour.SamePairWaits && t.sides[h.Mode].live != nil:
		return RefusedWait
	}
	return ""
}

// inherits reports whether k may take over the client token of its rotated predecessor.
func (s *Store) inherits(k, old *token) bool {
	return s.behaviour.ClientTokenSurvivesRotation && old.revoked && old.tunnel == k.tunnel && old.mode == k.mode
}

// TunnelOf returns the id of the tunnel that a token belongs or belonged to, "" for an unknown token.
func (s *Store) TunnelOf(token string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.tokens[token]; k != nil {
		return k.tunnel.ID
	}
	return ""
}
