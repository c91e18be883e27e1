package settings

import "time"

// Broker is the MQTT broker that sends notifications, and how to stay connected to it.
type Broker struct {
	Endpoint  string        // host alone, also TLS's server name; an IPv6 address without brackets
	Port      int           // 8883, or 443
	ClientID  string        // unique: of two clients with one id, the broker drops the older
	KeepAlive time.Duration // the longest silence before a ping, in whole seconds
	// PersistentSession lets the broker keep notifications while the device is away (cleanSession = 0). AWS
	// IoT Core keeps them for an hour by default.
	PersistentSession bool
}

// DefaultMaxTunnels bounds the tunnels of a small device. More at one thing are likely a mistake.
const DefaultMaxTunnels = 8

// Sessions are the settings that all sessions of a device share.
type Sessions struct {
	// Endpoint is "wss://host[:port]". Empty: the data endpoint of each token's region.
	Endpoint string
	// Regions lists the regions whose tokens are accepted. Empty: all.
	Regions []string
	// MaxTunnels bounds the tunnels. At the limit a new token may still connect, since it may replace one,
	// and is refused if it does not. 0: DefaultMaxTunnels.
	MaxTunnels int
	// ResumeTimeout is how long a connection whose tunnel was lost waits to be resumed; 0 keeps none.
	ResumeTimeout time.Duration
	// StateDir keeps the pairs of tokens over a restart. Empty: memory only.
	StateDir string
}

// Hooks is the owner's command, and when to run it.
type Hooks struct {
	Command []string      // the program's absolute path and its arguments; empty runs nothing
	Timeout time.Duration // after which the command is killed, with all that it started
	Events  []string      // their names; empty: all
}
