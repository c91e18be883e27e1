package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/settings"
	"github.com/culvert-iot/culvert/services"
)

// DefaultPath is where the daemon looks for its configuration.
const DefaultPath = "/etc/culvert/culvertd.toml"

// Defaults of keys that may be left out. docs/configuration.md gives the reasons.
const (
	DefaultMQTTPort       = 8883
	DefaultKeepAlive      = 60 * time.Second
	DefaultResumeTimeout  = 10 * time.Minute
	DefaultConnectTimeout = services.DefaultConnectTimeout
	DefaultStateDir       = "/var/lib/culvert"
	DefaultHookTimeout    = 10 * time.Second
	DefaultLogFormat      = "text"
	DefaultControlSocket  = "/run/culvert/culvertd.sock"
)

// maxSize is far more than any configuration needs, and little enough to read into memory of a small
// device when the path is wrong.
const maxSize = 1 << 20

// Config is a validated configuration. Every path in it is absolute, every default filled in.
type Config struct {
	ThingName string
	MQTT      MQTT
	Tunnel    Tunnel
	Services  []services.Service // in the file's order
	Hooks     settings.Hooks     // the events are among HookEvents
	Log       Log
	Control   Control
	Metrics   Metrics
	Path      string // of the file itself
}

// MQTT is the connection on which notifications arrive.
type MQTT struct {
	settings.Broker
	Disabled          bool   // notifications come by the control socket alone
	CAFile            string // "" is the system's roots
	CertFile, KeyFile string // both "" where the device has no certificate
	TPMKey            TPMKey // in the place of KeyFile
	Username          string
	PasswordFile      string
	Authorizer        string // a custom authorizer's name
	TokenFile         string // its token
	AnswerPings       bool   // publish an answer to an operator's ping
}

const (
	alpnPort         = 443
	defaultPortUnset = -1 // while the file is read
)

// Address is the endpoint as net.Dial takes it.
func (m MQTT) Address() string { return net.JoinHostPort(m.Endpoint, strconv.Itoa(m.Port)) }

// ALPN names the protocols to offer in the TLS handshake: on port 443 AWS IoT tells MQTT from HTTPS, and certificates from
// custom authorizers, by them (AWS IoT developer guide, device communication protocols), on any other port there are none.
func (m MQTT) ALPN() []string {
	switch {
	case m.Port != alpnPort:
		return nil
	case m.ByName():
		return []string{"mqtt"}
	}
	return []string{"x-amzn-mqtt-ca"}
}

// Tunnel is what holds for all tunnels.
type Tunnel struct {
	settings.Sessions
	CAFile         string        // added to the system's roots; "" adds none
	IdleTimeout    time.Duration // of a connection, for services that do not set their own; 0 is never
	ConnectTimeout time.Duration // to a service
}

// HookEvents are the events that a hook can be run at.
var HookEvents = []string{"tunnel_opened", "tunnel_closed", "connection_opened", "connection_closed"}

// Log is the form of the log on standard error.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// Control is the way in for the daemon's own commands.
type Control struct {
	Socket string // path of a unix socket; "" is none
	Group  string // name or number of the group that may use it; "" is none
}

// Metrics is the way in for a monitoring system.
type Metrics struct {
	Listen string // "host:port" on loopback, or "unix:/path"; "" is none
}

func defaults() *Config {
	return &Config{
		MQTT: MQTT{Broker: settings.Broker{Port: defaultPortUnset, KeepAlive: DefaultKeepAlive, PersistentSession: true}},
		Tunnel: Tunnel{
			Sessions:       settings.Sessions{MaxTunnels: settings.DefaultMaxTunnels, ResumeTimeout: DefaultResumeTimeout, StateDir: DefaultStateDir},
			ConnectTimeout: DefaultConnectTimeout,
		},
		Hooks:   settings.Hooks{Timeout: DefaultHookTimeout},
		Log:     Log{Level: slog.LevelInfo, Format: DefaultLogFormat},
		Control: Control{Socket: DefaultControlSocket},
	}
}

// Load reads the file at path. The error is an *Error, or Errors when there are several; each tells its
// line unless the file could not be read at all.
func Load(path string) (*Config, error) {
	if path == "" {
		return nil, &Error{
			File: "--config", Message: "it names no file",
			hint: "write --config FILE; without --config it is " + DefaultPath,
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, &Error{
			File: path, Message: "this is a directory, not a configuration file",
			hint: "name the file in it, as in --config " + filepath.Join(path, "culvertd.toml"),
		}
	}
	return Parse(f, path)
}

// unreadable says in users' words why a file cannot be opened or read.
func unreadable(path string, err error) *Error {
	e := &Error{File: path, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Message = "there is no such file"
		e.hint = "make one with culvertd init, or name another with --config FILE"
	case errors.Is(err, fs.ErrPermission):
		e.Message = "this user may not read the file"
		e.hint = "run as the user that owns it, or give this one access: see ls -l " + path
	default:
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		e.Message = "cannot be read: " + err.Error()
		e.hint = "check the file and the disk that it is on"
	}
	return e
}

// Parse reads a configuration from r. path is for messages and for what is relative to the file.
func Parse(r io.Reader, path string) (*Config, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > maxSize {
		return nil, &Error{
			File: path, Message: fmt.Sprintf("the file is larger than %d KiB", maxSize>>10),
			hint: "this is hardly a configuration: check the path",
		}
	}
	if err := notTOML(data); err != nil {
		return nil, &Error{File: path, Message: err.Error(), hint: hint.Of(err)}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	d := &decoder{cfg: defaults(), dir: filepath.Dir(abs)}
	d.cfg.Path = abs
	d.doc = parseDocument(data, path)
	d.decode()
	if err := d.doc.err(); err != nil {
		return nil, err
	}
	return d.cfg, nil
}
