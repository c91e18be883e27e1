package session

import (
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/secret"
)

// MaxAge is the longest life of a tunnel (AWS IoT API, maxLifetimeTimeoutMinutes: 720). No field of a
// notification tells the real expiry, so a session ends this long after its notification in any case.
const MaxAge = 12 * time.Hour

// Token is what a notification gives: the right to be the destination of one tunnel.
type Token struct {
	AccessToken secret.Value
	Region      string
	Services    []string  // what the notification says; the tunnel's own list is the truth
	Received    time.Time // zero: now
}

// Result is the outcome of an accepted token.
type Result string

// What Accept can answer.
const (
	Accepted Result = "accepted" // a new session was started
	Known    Result = "known"    // the token has a session, or had one; nothing was done
	Refused  Result = "refused"  // Outcome.Reason says why
)

// Outcome is Accept's answer.
type Outcome struct {
	Result  Result `json:"result"`
	Session string `json:"session,omitempty"` // the session's id
	Reason  string `json:"reason,omitempty"`
}

// State is where a session stands.
type State string

// The states of a session. It begins with Connecting; Ended is final.
const (
	Connecting State = "connecting" // a handshake is under way
	Connected  State = "connected"  // the websocket stands
	Waiting    State = "waiting"    // until the next attempt
	Ended      State = "ended"
)

// follows holds which state may come after which.
var follows = map[State][]State{
	Connecting: {Connected, Waiting, Ended},
	Connected:  {Waiting, Ended},
	Waiting:    {Connecting, Ended},
	Ended:      {},
}

// Status describes one session for people and for programs.
type Status struct {
	Session     string          `json:"session"` // the first 8 hex digits of the token's SHA-256
	State       State           `json:"state"`
	Since       time.Time       `json:"since"`    // of the state
	Received    time.Time       `json:"received"` // when the notification came
	NextAttempt time.Time       `json:"next_attempt,omitzero"`
	Attempts    int             `json:"attempts"` // handshakes tried, in all
	Connects    int             `json:"connects"` // handshakes that succeeded
	Region      string          `json:"region,omitempty"`
	Endpoint    string          `json:"endpoint,omitempty"`
	ChannelID   string          `json:"channel_id,omitempty"` // of the latest websocket
	Subprotocol string          `json:"subprotocol,omitempty"`
	Services    []ServiceStatus `json:"services"`
	LastError   string          `json:"last_error,omitempty"` // since the latest connect
	LastErrorAt time.Time       `json:"last_error_at,omitzero"`
	LastHint    string          `json:"last_hint,omitempty"` // what to do about it
	Reason      string          `json:"reason,omitempty"`    // why it ended
	Hint        string          `json:"hint,omitempty"`      // what to do about that
}

// setError records the latest error; nil clears it.
func (s *Status) setError(err error) {
	s.LastError, s.LastErrorAt, s.LastHint = "", time.Time{}, ""
	if err != nil {
		s.LastError, s.LastErrorAt, s.LastHint = err.Error(), time.Now(), hint.Of(err)
	}
}

// ServiceStatus counts what passed through one service of one session, over all its websockets.
type ServiceStatus struct {
	Service     string `json:"service"`
	Connections int    `json:"connections"` // now
	Total       uint64 `json:"total"`       // connections so far
	BytesIn     uint64 `json:"bytes_in"`    // from the tunnel
	BytesOut    uint64 `json:"bytes_out"`   // to the tunnel
	Refused     uint64 `json:"refused"`     // connections that never reached the target
	LastError   string `json:"last_error,omitempty"`
	// LastErrorAt is when that was: the error stays after connections that went well.
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}
