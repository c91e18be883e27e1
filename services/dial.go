package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// Keep-alive finds a target that vanished without a word (power off, cable out) within about 2 minutes.
const (
	keepAliveIdle     = 60 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 4
)

// minAttempt is the least time that one of several addresses gets before the next one has its turn.
const minAttempt = 500 * time.Millisecond

// network is what dialling needs of the system. Tests put their own in its place.
type network struct {
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

func systemNetwork() network {
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
	return network{
		resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		dial: d.DialContext,
	}
}

// Dial connects to the service of that name. Its errors are *DialError, or the cause of ctx's end inside
// one. The connection counts against the service's limit until it is closed; if the service has an idle
// timeout, Read and Write end with *IdleError once it has passed, and with *DurationError after its
// max_duration. The connection has the methods of syscall.Conn, CloseWrite, Target, Expired, and NetConn,
// which returns the connection beneath.
func (t *Table) Dial(ctx context.Context, name string) (net.Conn, error) {
	s, timeout, derr := t.reserve(name)
	if derr != nil {
		t.refuse(name, derr.Kind)
		return nil, derr
	}
	c, err := t.net.connect(ctx, s, timeout)
	if err != nil {
		t.release(name)
		if ctx.Err() == nil { // otherwise the caller gave up, and the target refused nothing
			t.refuse(name, reasonOf(err))
		}
		return nil, err
	}
	return newConn(c, s, 0, func() { t.release(name) }), nil
}

// Adopt takes a connection to the service of that name that was made elsewhere, age ago: it counts against the service's
// limit, even above it, and has the service's timeouts from now on, but of its max_duration only what is left. It fails
// where the service is gone or switched off; the connection is left to the caller then.
func (t *Table) Adopt(name string, c net.Conn, age time.Duration) (net.Conn, error) {
	s, err := t.adopt(name)
	if err != nil {
		return nil, err
	}
	return newConn(c, s, age, func() { t.release(name) }), nil
}

// connect tries every address of the service until one accepts or the time is over.
func (n network) connect(parent context.Context, s Service, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	fail := func(kind Kind, err error) error {
		if cause := context.Cause(parent); cause != nil {
			kind, err = Other, cause
		} else if ctx.Err() != nil {
			kind = Timeout
		}
		return &DialError{Service: s.Name, Target: s.Target(), Kind: kind, Err: err, timeout: timeout}
	}
	targets, err := n.targets(ctx, s)
	if err != nil {
		kind := Resolve
		if _, ok := errors.AsType[*reservedError](err); ok {
			kind = Forbidden
		}
		return nil, fail(kind, err)
	}
	var told error // a refusal says more than a time-out or a missing route of another address
	for i, target := range targets {
		attempt, done := context.WithTimeout(ctx, share(ctx, len(targets)-i))
		c, err := n.dial(attempt, s.Network, target)
		done()
		if err == nil {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetNoDelay(true) // Go's default, and a promise here: keystrokes must not wait
			}
			return c, nil
		}
		if told == nil || classify(err) == Refused && classify(told) != Refused {
			told = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fail(classify(told), told)
}

func reasonOf(err error) Kind {
	if d, ok := errors.AsType[*DialError](err); ok {
		return d.Kind
	}
	return Other
}

// share splits what is left of ctx's time evenly between the addresses still to be tried.
func share(ctx context.Context, left int) time.Duration {
	deadline, _ := ctx.Deadline()
	return max(time.Until(deadline)/time.Duration(left), minAttempt)
}

// classify reads the kind of a failed connect from its error.
func classify(err error) Kind {
	switch ne, ok := errors.AsType[net.Error](err); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), ok && ne.Timeout():
		return Timeout
	default:
		return Other
	}
}

// reservedError is a name that leads only where no name may lead.
type reservedError struct {
	host string
	addr netip.Addr
}

func (e *reservedError) Error() string {
	return fmt.Sprintf("the name %s leads to %v, a link-local or metadata address, which is refused", e.host, e.addr)
}

// targets lists the addresses to try, in order. A literal is taken as it is; a name is resolved here and
// not by the dialer, so that what is checked is what is dialled.
func (n network) targets(ctx context.Context, s Service) ([]string, error) {
	if s.Network == "unix" {
		return []string{s.Address}, nil
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{s.Address}, nil
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		// Loopback by definition (RFC 6761, section 6.3): small images have no /etc/hosts, and a resolver
		// must not be able to say otherwise.
		return []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}, nil
	}
	addrs, err := n.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var list []string
	for _, a := range addrs {
		if a = a.Unmap(); !isReserved(a) {
			list = append(list, net.JoinHostPort(a.String(), port))
		}
	}
	if len(list) == 0 {
		return nil, &reservedError{host, addrs[0].Unmap()}
	}
	return list, nil
}
