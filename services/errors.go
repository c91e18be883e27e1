package services

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"
)

// Kind sorts the reasons why a connection to a service was not made.
type Kind int

// The kinds of DialError.
const (
	Other     Kind = iota // whatever the network said; see Err
	Unknown               // no service has the name
	Disabled              // the configuration turned the service off
	Full                  // the service has its max_connections
	Refused               // nothing listens at the target
	Timeout               // the target did not answer within the connect timeout
	Resolve               // the target's host name does not resolve
	Forbidden             // the target's host name leads to a link-local or metadata address
)

// String names the kind in one word.
func (k Kind) String() string {
	switch k {
	case Unknown:
		return "unknown"
	case Disabled:
		return "disabled"
	case Full:
		return "full"
	case Refused:
		return "refused"
	case Timeout:
		return "timeout"
	case Resolve:
		return "resolve"
	case Forbidden:
		return "forbidden"
	default:
		return "other"
	}
}

// DialError says why Table.Dial made no connection. Its hint says what would help.
type DialError struct {
	Service string
	Target  string // as the configuration writes it; empty for an unknown service
	Kind    Kind
	Err     error // the cause, if there is more to say than Kind does

	limit   int           // Full
	timeout time.Duration // Timeout
}

// Error names the service, its target and the reason.
func (e *DialError) Error() string {
	at := fmt.Sprintf("service %q at %s", e.Service, e.Target)
	switch e.Kind {
	case Unknown:
		return fmt.Sprintf("service %q is not configured", e.Service)
	case Disabled:
		return at + " is disabled"
	case Full:
		return fmt.Sprintf("%s has its %d connections", at, e.limit)
	case Refused:
		return at + " refused the connection"
	case Timeout:
		return fmt.Sprintf("%s did not answer within %v", at, e.timeout)
	case Resolve:
		return fmt.Sprintf("%s: the host name does not resolve: %v", at, e.Err)
	case Forbidden, Other:
	}
	if errors.Is(e.Err, fs.ErrNotExist) {
		return at + ": there is no such socket"
	}
	return fmt.Sprintf("%s: %v", at, e.Err)
}

// Hint says what to do; "" where only the cause can tell.
func (e *DialError) Hint() string {
	switch e.Kind {
	case Unknown:
		return "add it to the services, or leave it out of the tunnel"
	case Disabled:
		return "enable it in the configuration"
	case Full:
		return "close one, or raise max_connections"
	case Refused:
		return "start the program that should listen there, or correct the target"
	case Timeout:
		return "check that the host is up and that no firewall drops the connection"
	case Resolve:
		if isLocalName(e.Target) {
			return "names in .local are found by mDNS, and this program asks DNS and /etc/hosts alone; write the address, or put the name into /etc/hosts"
		}
		return "correct it, or write an address"
	case Forbidden:
		return "if this is meant, write that address instead of the name"
	case Other:
	}
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return "start the program that makes it, or correct the path"
	case errors.Is(e.Err, fs.ErrPermission):
		return "give this program's user access to the target"
	case errors.Is(e.Err, syscall.EMFILE):
		return "close connections, or raise this program's limit of open files (LimitNOFILE= of its unit, ulimit -n)"
	}
	return ""
}

// isLocalName reports whether a target is host:port with a name that mDNS is for (RFC 6762, section 3).
func isLocalName(target string) bool {
	host, _, err := net.SplitHostPort(target)
	return err == nil && strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".local")
}

// Unwrap returns the cause, which may be nil.
func (e *DialError) Unwrap() error { return e.Err }

// IdleError ends Read and Write of a connection on which nothing moved for the service's idle timeout.
// It is no net.Error: a caller's own deadlines stay distinct from it.
type IdleError struct {
	Service string
	After   time.Duration
}

// Error names the service and the limit.
func (e *IdleError) Error() string {
	return fmt.Sprintf("service %q: no byte moved for %v (idle_timeout)", e.Service, e.After)
}

// DurationError ends Read and Write of a connection that was open for the service's max_duration.
type DurationError struct {
	Service string
	After   time.Duration
}

// Error names the service and the limit.
func (e *DurationError) Error() string {
	return fmt.Sprintf("service %q: the connection was open for %v (max_duration)", e.Service, e.After)
}
