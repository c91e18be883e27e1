package services

import "time"

// Service is one named target. The zero values of its limits mean no limit.
type Service struct {
	// Name as the tunnel knows it: case counts, see ValidName.
	Name string
	// Network is "tcp" or "unix", Address a host:port or an absolute path: what ParseAddress returns.
	Network, Address string
	// MaxConnections that may be open, or being opened, at one moment; 0 is no limit.
	MaxConnections int
	// IdleTimeout ends a connection on which no byte moved either way for so long; 0 is never.
	IdleTimeout time.Duration
	// MaxDuration ends a connection that has been open for so long, busy or not; 0 is never.
	MaxDuration time.Duration
	// Disabled services keep their place in the configuration and refuse every connection.
	Disabled bool
}

// maxName is the longest service name, in bytes (protocol guide, service identifiers).
const maxName = 128

// ValidName reports whether name is a service name that the service accepts: 1 to 128 letters, digits,
// ":", "_" and "-" (AWS IoT API reference, DestinationConfig). There is no dot among them, whatever
// older examples show.
func ValidName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == ':', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Target shows where the service leads, as the configuration would write it.
func (s Service) Target() string {
	if s.Network == "unix" {
		return "unix:" + s.Address
	}
	return s.Address
}
