package agent

import (
	"os"
	"runtime"
	"time"

	"github.com/culvert-iot/culvert/agent/hook"
	"github.com/culvert-iot/culvert/agent/notify"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/services"
)

// Status describes a running daemon. It holds no token.
type Status struct {
	Version version.Info `json:"version"`
	PID     int          `json:"pid"`
	Started time.Time    `json:"started"`
	Now     time.Time    `json:"now"` // when the status was taken, by the device's clock; the other times are relative to it
	Thing   string       `json:"thing"`
	// Goroutines are the daemon's threads of work. Their number goes up and down with tunnels and connections;
	// one that only grows is a fault of the daemon.
	Goroutines int              `json:"goroutines"`
	Config     string           `json:"config"` // path of the file
	MQTT       MQTTStatus       `json:"mqtt"`
	Tunnels    []session.Status `json:"tunnels"` // live ones, oldest first, and the last few that ended, latest first
	Services   []ServiceStatus  `json:"services"`
	Limits     Limits           `json:"limits"`
	Detached   Detached         `json:"detached"`
	Hooks      *hook.Status     `json:"hooks,omitempty"` // absent without a command
	// State says what is wrong with tunnel.state_dir; absent if nothing is.
	State *StateStatus `json:"state,omitempty"`
	// Clock says that TLS is judged by a stamp of the time that may be wrong; absent if it is not.
	Clock *ClockStatus `json:"clock,omitempty"`
}

// MQTTState is where the MQTT connection stands.
type MQTTState string

// The states of the MQTT connection. Notifications arrive only in the last.
const (
	Connecting MQTTState = "connecting" // or waiting for the next attempt
	Connected  MQTTState = "connected"  // the broker took the CONNECT and has not answered the SUBSCRIBE
	Subscribed MQTTState = "subscribed"
	Disabled   MQTTState = "disabled" // by the configuration
)

// MQTTStatus is the connection on which notifications arrive.
type MQTTStatus struct {
	Endpoint    string    `json:"endpoint"`
	ClientID    string    `json:"client_id"`
	State       MQTTState `json:"state"`
	Since       time.Time `json:"since"`
	Attempts    int       `json:"attempts"` // to connect, since there was last a subscription
	LastNotify  time.Time `json:"last_notify,omitzero"`
	LastError   string    `json:"last_error,omitempty"` // stays after recovery
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	LastHint    string    `json:"last_hint,omitempty"` // what to do about it
	// LastFault sorts the last error for programs: what the broker's policy seems to deny, or another client.
	LastFault notify.Fault `json:"last_fault,omitempty"`
	// LastAnswer is when an operator's ping was last answered. AnswersDenied: none is any more, because the connection
	// ended after each answer, as it does where the policy forbids them.
	LastAnswer    time.Time `json:"last_answer,omitzero"`
	AnswersDenied bool      `json:"answers_denied,omitempty"`
}

// ServiceStatus is one configured service and its connections over all tunnels.
type ServiceStatus struct {
	Service        string `json:"service"`
	Target         string `json:"target"`
	Enabled        bool   `json:"enabled"`
	Connections    int    `json:"connections"`
	MaxConnections int    `json:"max_connections"` // 0: no limit
	IdleTimeout    string `json:"idle_timeout"`    // as Go writes a duration; "0s": no limit
	MaxDuration    string `json:"max_duration"`    // likewise
	// Refused counts the connections that were not made since the start, by reason: disabled, full, refused,
	// timeout, resolve, forbidden, other.
	Refused map[string]uint64 `json:"refused"`
}

// StateStatus is a state directory that cannot be used: tunnels will not survive a restart.
type StateStatus struct {
	Directory   string    `json:"directory"`
	LastError   string    `json:"last_error"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Hint        string    `json:"hint"`
}

// ClockStatus is a stamp of the time in the state directory that is more than a day ahead of the clock. Certificates of
// servers that end before the stamp do not work.
type ClockStatus struct {
	File  string `json:"file"`
	Error string `json:"error"`
	Hint  string `json:"hint"`
}

// Detached counts the connections whose tunnel was lost.
type Detached struct {
	Connections int     `json:"connections"` // that wait to be resumed
	Longest     float64 `json:"longest"`     // how long the first of them has waited, in seconds
	Resumed     uint64  `json:"resumed"`     // since the start
	Expired     uint64  `json:"expired"`     // that waited in vain, since the start
}

// Limits is what is used of the daemon's own limits. Those of services are with the services.
type Limits struct {
	Tunnels        int      `json:"tunnels"` // live ones
	MaxTunnels     int      `json:"max_tunnels"`
	TunnelsRefused uint64   `json:"tunnels_refused"` // since the start, for max_tunnels or regions
	Regions        []string `json:"regions"`         // accepted ones; empty: all
	// MaxConnections bounds the connections of all tunnels together, by the memory that there is; 0: no limit.
	MaxConnections int `json:"max_connections"`
	// UnknownRefused counts the connections to services that are not configured, since the start.
	UnknownRefused uint64 `json:"unknown_refused"`
}

// Status returns the status of now.
func (a *Agent) Status() Status {
	a.mu.Lock()
	running, current := a.running, a.current
	a.mu.Unlock()
	s := Status{
		Version: version.Get(), PID: os.Getpid(), Started: a.started, Now: time.Now(), Goroutines: runtime.NumGoroutine(),
		Thing: running.ThingName, Config: running.Path,
		MQTT:    mqttStatus(a.mqtt.State()),
		Tunnels: a.sessions.Status(), Services: []ServiceStatus{},
	}
	s.MQTT.Endpoint, s.MQTT.ClientID = running.MQTT.Address(), running.MQTT.ClientID
	if running.MQTT.Disabled {
		s.MQTT = MQTTStatus{State: Disabled, Since: a.started}
	}
	for _, c := range current.Services {
		s.Services = append(s.Services, ServiceStatus{
			Service: c.Name, Target: c.Target(), Enabled: !c.Disabled,
			Connections: a.table.Active(c.Name), MaxConnections: c.MaxConnections,
			IdleTimeout: c.IdleTimeout.String(), MaxDuration: c.MaxDuration.String(), Refused: a.refused(c.Name),
		})
	}
	s.Limits = Limits{Regions: current.Tunnel.Regions, MaxConnections: a.opts.MaxConnections, UnknownRefused: a.refused("")[services.Unknown.String()]}
	if s.Limits.Regions == nil {
		s.Limits.Regions = []string{}
	}
	s.Limits.Tunnels, s.Limits.MaxTunnels, s.Limits.TunnelsRefused = a.sessions.Counts()
	kept := a.sessions.Resumption()
	s.Detached = Detached{Connections: kept.Detached, Longest: kept.Longest.Seconds(), Resumed: kept.Resumed, Expired: kept.Expired}
	if h, ok := a.hooks.Status(); ok {
		s.Hooks = &h
	}
	t := a.sessions.StateTrouble()
	if t.Error == "" && a.clock.diskHangs() {
		t = session.NoAnswer(running.Tunnel.StateDir)
	}
	if t.Error != "" {
		s.State = &StateStatus{Directory: running.Tunnel.StateDir, LastError: t.Error, LastErrorAt: t.Since, Hint: t.Hint}
	}
	if err := a.clock.trouble(); err != nil {
		s.Clock = &ClockStatus{File: a.clock.file, Error: err.Error(), Hint: hint.Of(err)}
	}
	s.byElapsedTime()
	return s
}

// byElapsedTime gives each time stamp the value that the clock of now would have shown. The clock may have been
// set since, and what a reader wants to know is how long ago something was.
func (s *Status) byElapsedTime() {
	set := func(all ...*time.Time) {
		for _, t := range all {
			if !t.IsZero() {
				*t = s.Now.Add(t.Sub(s.Now)).Round(0)
			}
		}
	}
	set(&s.Started, &s.MQTT.Since, &s.MQTT.LastNotify, &s.MQTT.LastAnswer, &s.MQTT.LastErrorAt)
	for i := range s.Tunnels {
		t := &s.Tunnels[i]
		set(&t.Since, &t.Received, &t.NextAttempt, &t.LastErrorAt)
		for j := range t.Services {
			set(&t.Services[j].LastErrorAt)
		}
	}
	if s.Hooks != nil {
		set(&s.Hooks.LastErrorAt)
	}
	if s.State != nil {
		set(&s.State.LastErrorAt)
	}
	s.Now = s.Now.Round(0)
}

// refused counts a service's refusals by their reason's name.
func (a *Agent) refused(service string) map[string]uint64 {
	counts := make(map[string]uint64)
	for kind, n := range a.table.Refused(service) {
		counts[kind.String()] = n
	}
	return counts
}

func mqttStatus(s notify.State) MQTTStatus {
	state := Connecting
	switch {
	case s.Subscribed:
		state = Subscribed
	case s.Connected:
		state = Connected
	}
	return MQTTStatus{
		State: state, Since: s.Since, Attempts: s.Attempts, LastNotify: s.LastNotify,
		LastError: s.LastError, LastErrorAt: s.LastErrorAt, LastHint: s.LastHint, LastFault: s.LastFault,
		LastAnswer: s.LastAnswer, AnswersDenied: s.AnswersDenied,
	}
}
