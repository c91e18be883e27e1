package tunnels

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
)

// DefaultLifetime is a tunnel's life when none is asked for, and the longest possible (API reference).
const DefaultLifetime = 12 * time.Hour

// recordLife is how long a closed tunnel stays visible: "at least three hours" (AWS IoT developer guide).
const recordLife = 3 * time.Hour

// Config is what a Store is made of. The zero value is ready to use.
type Config struct {
	Region  string           // default "us-east-1"
	Account string           // 12 digits; default "123456789012"
	Now     func() time.Time // default time.Now. With another clock call [Store.Sweep] after moving it.

	// MaxTunnels limits the tunnels that are open at a time; the real quota is not published. 0: no limit.
	MaxTunnels int

	Behaviour Behaviour
}

// Mode is the side of a tunnel, in the words of the websocket handshake.
type Mode string

// The two sides.
const (
	Source      Mode = "source"
	Destination Mode = "destination"
)

// The values of clientMode that [Store.Rotate] takes, in the words of the control API.
const (
	RotateSource      = "SOURCE"
	RotateDestination = "DESTINATION"
	RotateAll         = "ALL"
)

// Status of a tunnel. A closed one can never be opened again.
type Status string

// The two statuses.
const (
	Open   Status = "OPEN"
	Closed Status = "CLOSED"
)

// The two values of [ConnectionState].Status.
const (
	Connected    = "CONNECTED"
	Disconnected = "DISCONNECTED"
)

// ConnectionState reports whether a side is connected and since when that is so. A side that was never
// connected is DISCONNECTED since the tunnel was opened.
type ConnectionState struct {
	Status        string
	LastUpdatedAt time.Time
}

// DestinationConfig names the thing that is notified and the services of the tunnel.
type DestinationConfig struct {
	ThingName string
	Services  []string
}

func (d *DestinationConfig) clone() *DestinationConfig {
	if d == nil {
		return nil
	}
	return &DestinationConfig{ThingName: d.ThingName, Services: slices.Clone(d.Services)}
}

// Tag is one label of a tunnel.
type Tag struct{ Key, Value string }

// Tunnel is a copy of a tunnel's record.
type Tunnel struct {
	ID, ARN, Description string
	Status               Status
	Destination          *DestinationConfig // nil when opened without
	Lifetime             time.Duration
	Tags                 []Tag // in the order in which they were set
	Created, Updated     time.Time
	SourceState          ConnectionState
	DestinationState     ConnectionState
}

// OpenInput is what a tunnel is opened with. Everything may be absent.
type OpenInput struct {
	Description string
	Tags        []Tag
	Destination *DestinationConfig
	Lifetime    time.Duration // 0 means DefaultLifetime
}

// Opened is a new tunnel with its tokens. No later call returns a token again.
type Opened struct {
	Tunnel                        Tunnel
	SourceToken, DestinationToken string
}

// Rotated holds the tokens of the sides that were rotated; the other side's is empty.
type Rotated struct {
	ARN                           string
	SourceToken, DestinationToken string
}

// Notify is the news that the destination must get.
type Notify struct {
	ClientAccessToken string
	Region            string
	Services          []string
}

// Store is the state of all tunnels. It is safe for concurrent use.
type Store struct {
	cfg Config

	mu           sync.Mutex
	behaviour    Behaviour
	notify       []func(thing string, n Notify)
	tunnels      map[string]*tunnel
	order        []*tunnel // oldest first
	tokens       map[string]*token
	clientTokens map[string]*token // who a client token is bound to, among the open tunnels
}

type tunnel struct {
	Tunnel
	deleted   bool
	expired   bool
	expires   time.Time
	timer     *time.Timer // nil under a foreign clock
	connected bool        // some side was connected once
	sides     map[Mode]*side
}

type side struct {
	mode  Mode
	state *ConnectionState
	token *token     // the valid one
	live  *Admission // who is connected
}

// New returns an empty Store.
func New(cfg Config) *Store {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Account == "" {
		cfg.Account = "123456789012"
	}
	return &Store{
		cfg: cfg, behaviour: cfg.Behaviour,
		tunnels: map[string]*tunnel{}, tokens: map[string]*token{}, clientTokens: map[string]*token{},
	}
}

// Region is the region whose tunnels these are.
func (s *Store) Region() string { return s.cfg.Region }

// SetBehaviour changes the answers to the open questions from now on.
func (s *Store) SetBehaviour(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// OnNotify adds a function that is called with each notification to publish: when a tunnel is opened with a
// thing, and when the token of its destination is rotated. It is called without any lock, before Open and
// Rotate return.
func (s *Store) OnNotify(f func(thing string, n Notify)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify = append(s.notify, f)
}

func (s *Store) now() time.Time {
	if s.cfg.Now != nil {
		return s.cfg.Now()
	}
	return time.Now()
}

// Open opens a tunnel and notifies its thing, if it names one. Error: *LimitError.
func (s *Store) Open(in OpenInput) (Opened, error) {
	s.mu.Lock()
	s.sweep()
	open := 0
	for _, t := range s.order {
		if t.Status == Open {
			open++
		}
	}
	if s.cfg.MaxTunnels > 0 && open >= s.cfg.MaxTunnels {
		s.mu.Unlock()
		return Opened{}, &LimitError{Limit: s.cfg.MaxTunnels}
	}
	if in.Lifetime == 0 {
		in.Lifetime = DefaultLifetime
	}
	now, id := s.now(), secret.NewUUID()
	t := &tunnel{Tunnel: Tunnel{
		ID: id, ARN: s.arn(id), Description: in.Description, Status: Open,
		Destination: in.Destination.clone(), Lifetime: in.Lifetime,
		Tags: slices.Clone(in.Tags), Created: now, Updated: now,
		SourceState:      ConnectionState{Disconnected, now},
		DestinationState: ConnectionState{Disconnected, now},
	}}
	t.expires = now.Add(in.Lifetime)
	if s.cfg.Now == nil {
		t.timer = time.AfterFunc(in.Lifetime, s.Sweep)
	}
	t.sides = map[Mode]*side{
		Source:      {mode: Source, state: &t.SourceState},
		Destination: {mode: Destination, state: &t.DestinationState},
	}
	out := Opened{SourceToken: s.newToken(t, Source), DestinationToken: s.newToken(t, Destination), Tunnel: t.snapshot()}
	s.tunnels[id] = t
	s.order = append(s.order, t)
	tell := s.notifier(in.Destination, out.DestinationToken)
	s.mu.Unlock()
	tell()
	return out, nil
}

// notifier returns the calls to make once the lock is free.
func (s *Store) notifier(d *DestinationConfig, token string) func() {
	if d == nil || d.ThingName == "" {
		return func() {}
	}
	d, fs := d.clone(), slices.Clone(s.notify)
	return func() {
		for _, f := range fs {
			f(d.ThingName, Notify{ClientAccessToken: token, Region: s.cfg.Region, Services: slices.Clone(d.Services)})
		}
	}
}

// Rotate revokes the tokens of one side or of both (RotateSource, RotateDestination, RotateAll) and makes new
// ones. It never extends the tunnel's life. d, which may be nil, names whom to notify; it is refused with
// RotateSource. Errors: *NotFoundError (also for a closed tunnel), *InvalidError.
func (s *Store) Rotate(id, mode string, d *DestinationConfig) (Rotated, error) {
	s.mu.Lock()
	tell := func() {}
	out, err := func() (out Rotated, err error) {
		switch {
		case mode != RotateSource && mode != RotateDestination && mode != RotateAll:
			return out, &InvalidError{"clientMode must be one of SOURCE, DESTINATION, ALL"}
		case mode == RotateSource && d != nil:
			return out, &InvalidError{"DestinationConfig cannot be used with client mode SOURCE"}
		}
		t, err := s.find(id)
		if err != nil {
			return out, err
		}
		if t.Status != Open {
			return out, &NotFoundError{ID: id, Closed: true}
		}
		if s.behaviour.RotateBeforeConnectFails && !t.connected {
			return out, &InvalidError{"The tunnel " + id + " was never connected"}
		}
		t.Updated = s.now()
		out.ARN = t.ARN
		if mode != RotateDestination {
			out.SourceToken = s.rotate(t, Source)
		}
		if mode != RotateSource {
			out.DestinationToken = s.rotate(t, Destination)
			if d == nil && s.behaviour.RotationNotifiesWithoutConfig {
				d = t.Destination
			} else if d != nil && s.behaviour.RotationChangesServices {
				t.Destination = d.clone()
			}
			tell = s.notifier(d, out.DestinationToken)
		}
		return out, nil
	}()
	s.mu.Unlock()
	tell()
	return out, err
}

func (s *Store) rotate(t *tunnel, m Mode) string {
	t.sides[m].token.revoked, t.sides[m].token.revokedAt = true, s.now()
	if !s.behaviour.RotationKeepsConnection {
		s.end(t.sides[m], Revoked)
	}
	return s.newToken(t, m)
}

// Close closes a tunnel and ends its connections; closing a closed one changes nothing. With del the record
// goes as well. Error: *NotFoundError.
func (s *Store) Close(id string, del bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.find(id)
	if err != nil {
		return err
	}
	if t.Status == Open {
		s.shut(t, TunnelClosed)
	}
	t.deleted = t.deleted || del
	return nil
}

func (s *Store) shut(t *tunnel, c Cause) {
	t.Status, t.Updated = Closed, s.now()
	if t.timer != nil {
		t.timer.Stop()
	}
	for _, sd := range t.sides {
		s.end(sd, c)
	}
	maps.DeleteFunc(s.clientTokens, func(_ string, k *token) bool { return k.tunnel == t })
}

// end tells the side's connection, if there is one, that it is over.
func (s *Store) end(sd *side, c Cause) {
	if a := sd.live; a != nil {
		sd.live = nil
		*sd.state = ConnectionState{Disconnected, s.now()}
		a.cause = c
		close(a.ended)
	}
}

// Sweep closes the tunnels whose life is over and forgets the records of those closed long ago. The Store
// does it by itself before every answer and, under the ordinary clock, at each expiry.
func (s *Store) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
}

func (s *Store) sweep() {
	now := s.now()
	s.order = slices.DeleteFunc(s.order, func(t *tunnel) bool {
		if t.Status == Open && !now.Before(t.expires) {
			t.expired = true
			s.shut(t, Expired)
		}
		if t.Status == Open || now.Before(t.Updated.Add(recordLife)) {
			return false
		}
		delete(s.tunnels, t.ID)
		maps.DeleteFunc(s.tokens, func(_ string, k *token) bool { return k.tunnel == t })
		return true
	})
}
