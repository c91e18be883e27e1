package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/pki"
)

// maxSocketPath is the longest path of a Unix socket that every system takes: 104 bytes on some, 108 on Linux, with the
// zero at the end.
const maxSocketPath = 103

var serviceName = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

// Device is what a thing needs to connect; all are absolute paths.
type Device struct {
	Thing      string `json:"thing"`
	CertFile   string `json:"cert_file"`
	KeyFile    string `json:"key_file"`
	ConfigFile string `json:"config_file"` // for culvertd --config
	StateDir   string `json:"state_dir"`
	Socket     string `json:"socket"` // culvertd's control socket
}

// CAFile is the path of the root certificate, which all servers of the sandbox have.
func (s *Sandbox) CAFile() string { return filepath.Join(s.Dir, pki.CAFile) }

// Device returns a thing's files, and makes them if the thing is new.
func (s *Sandbox) Device(thing string) (Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.devices, func(d Device) bool { return d.Thing == thing }); i >= 0 {
		return s.devices[i], nil
	}
	files, err := s.CA.OpenDevice(s.Dir, thing)
	if err != nil {
		return Device{}, err
	}
	s.Registry.Add(thing, nil)
	if err := s.Registry.Adopt(thing, files.CertPEM); err != nil {
		return Device{}, err
	}
	d := Device{Thing: thing}
	d.CertFile, d.KeyFile = pki.DeviceFiles(s.Dir, thing)
	// The first thing has the short names.
	prefix := ""
	if len(s.devices) > 0 {
		prefix = strings.TrimSuffix(filepath.Base(d.CertFile), ".pem.crt") + "-"
	}
	d.ConfigFile = filepath.Join(s.Dir, prefix+"culvertd.toml")
	d.StateDir = filepath.Join(s.Dir, prefix+"state")
	if d.Socket, err = s.socketPath(prefix + "culvertd.sock"); err != nil {
		return Device{}, err
	}
	text, err := s.daemonConfig(d)
	if err != nil {
		return Device{}, err
	}
	if err := os.WriteFile(d.ConfigFile, []byte(text), 0o644); err != nil { //nolint:gosec // holds no secret
		return Device{}, fmt.Errorf("write the daemon's configuration: %w", err)
	}
	s.devices = append(s.devices, d)
	return d, nil
}

// Devices lists the things, those of the configuration first and in its order.
func (s *Sandbox) Devices() []Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Device{}, s.devices...)
}

func (s *Sandbox) makeDir() (string, error) {
	if s.cfg.Dir == "" {
		return s.tempDir("culvert-sandbox-")
	}
	dir, err := filepath.Abs(s.cfg.Dir)
	if err != nil {
		return "", fmt.Errorf("sandbox directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("sandbox directory: %w", err)
	}
	if s.lock, err = lockDir(dir); err != nil {
		return "", err
	}
	return dir, nil
}

// inUse is the error of a directory that another sandbox has locked. A second one would write its own
// ports into the first one's configurations.
func inUse(dir string) error {
	return hint.Wrap(fmt.Errorf("another sandbox is using %s", dir), "stop that one, or choose another directory")
}

func (s *Sandbox) tempDir(pattern string) (string, error) {
	dir, err := os.MkdirTemp("", pattern) // mode 0700
	if err != nil {
		return "", fmt.Errorf("sandbox directory: %w", err)
	}
	s.tempDirs = append(s.tempDirs, dir)
	return dir, nil
}

// socketPath is inside Dir, unless that makes it too long for a Unix socket.
func (s *Sandbox) socketPath(name string) (string, error) {
	if path := filepath.Join(s.Dir, name); len(path) <= maxSocketPath {
		return path, nil
	}
	dir, err := s.tempDir("culvert-")
	if err != nil {
		return "", err
	}
	if path := filepath.Join(dir, "culvertd.sock"); len(path) <= maxSocketPath {
		return path, nil
	}
	return "", nil // none: the daemon runs without
}

// daemonConfig writes culvertd's configuration for a thing. Paths in Dir are relative, so that it can be copied as a
// whole.
func (s *Sandbox) daemonConfig(d Device) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	local := func(path string) string {
		if rel, err := filepath.Rel(s.Dir, path); err == nil && !strings.HasPrefix(rel, "..") {
			path = filepath.ToSlash(rel)
		}
		return quote(path)
	}
	line("# Written by the sandbox at each start: changes are lost. It stands for no real account.")
	line("thing_name = %s", quote(d.Thing))
	line("\n[mqtt]")
	line("endpoint  = %s", quote(s.MQTT))
	line("ca_file   = %s", local(s.CAFile()))
	line("cert_file = %s", local(d.CertFile))
	line("key_file  = %s", local(d.KeyFile))
	if string(s.cfg.Policy) == broker.DefaultPolicy(s.cfg.Region, s.cfg.Account) { // which allows it
		line("answer_pings = true")
	}
	line("\n[tunnel]")
	line("endpoint  = %s", quote(s.RelayURL))
	line("ca_file   = %s", local(s.CAFile()))
	line("state_dir = %s", local(d.StateDir))
	line("\n[services]")
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Services)) {
		address := s.cfg.Services[name]
		if !serviceName.MatchString(name) || address == "" {
			return "", fmt.Errorf("service %q = %q: a name of letters, digits, ':', '_' or '-' and an address are needed", name, address)
		}
		if port, err := strconv.ParseUint(address, 10, 16); err == nil {
			address = fmt.Sprint(port)
		} else {
			address = quote(address)
		}
		if strings.Contains(name, ":") {
			name = quote(name)
		}
		line("%s = %s", name, address)
	}
	line("\n[control]")
	line("socket = %s", local(d.Socket))
	return b.String(), nil
}

// quote makes a TOML basic string; the escapes of JSON are among those of TOML.
func quote(s string) string {
	b, _ := json.Marshal(s) // strings always encode
	return string(b)
}
