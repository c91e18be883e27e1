package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/netdial"
)

// route is a connection to one host: its dial function records each step's outcome.
type route struct {
	c       *checkup
	prefix  string // of ids: "mqtt" or "tunnel"
	subject string
	host    string
	key     string // of the configuration, for remedies
	began   time.Time

	mu     sync.Mutex
	dialed bool
	err    error         // of the last dial
	took   time.Duration // until it was connected
	to     string        // remote address
}

func (c *checkup) newRoute(prefix, subject, host, key string) *route {
	return &route{c: c, prefix: prefix, subject: subject, host: host, key: key, began: time.Now()}
}

// name resolves the host, unless it is an address or a proxy resolves it.
func (rt *route) name(ctx context.Context, address string) (*Result, bool) {
	id := rt.prefix + ".name"
	if _, err := netip.ParseAddr(rt.host); err == nil {
		return skipped(id, "%s is an address", rt.host).of(rt.subject), true
	}
	if proxy, _, err := rt.c.dialer.Via(address); err == nil && proxy != "" {
		return skipped(id, "%s is resolved by the web proxy", rt.host).of(rt.subject), true
	}
	limited, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	began := time.Now()
	addresses, err := net.DefaultResolver.LookupHost(limited, rt.host)
	if err != nil {
		text, remedy := rt.nameError(err)
		return failed(id, remedy, "%s: %s", rt.host, text).of(rt.subject).since(began), false
	}
	return well(id, "%s has %s", rt.host, list(addresses, 3)).of(rt.subject).since(began), true
}

func (rt *route) nameError(err error) (text, remedy string) {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return "there is no such name", "correct " + rt.key + "; if the name is right, the name servers of /etc/resolv.conf do not know it"
	}
	return "no answer from DNS", "check the network and the name servers in /etc/resolv.conf"
}

// dial is the dial function of the connection being checked.
func (rt *route) dial(ctx context.Context, network, address string) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	began := time.Now()
	conn, err := rt.c.dialer.DialContext(limited, network, address)
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.dialed, rt.err, rt.took = true, err, time.Since(began)
	if err == nil {
		rt.to = conn.RemoteAddr().String()
	}
	return conn, err
}

// tcp reports how the dial went; ok is whether it succeeded.
func (rt *route) tcp(ctx context.Context, address string) (r *Result, ok bool) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	id := rt.prefix + ".tcp"
	if !rt.dialed {
		return skipped(id, "not tried").of(rt.subject), false
	}
	if rt.err != nil {
		text, remedy := rt.dialError(ctx, address)
		r = failed(id, remedy, "%s", text).of(rt.subject)
		r.Milliseconds = rt.took.Milliseconds()
		return r, false
	}
	through := ""
	if proxy, _, err := rt.c.dialer.Via(address); err == nil && proxy != "" {
		through = " through " + proxy
	} else if !strings.HasPrefix(rt.to, rt.host+":") && rt.to != address {
		through = ", " + rt.to
	}
	r = well(id, "%s%s", address, through).of(rt.subject)
	r.Milliseconds = rt.took.Milliseconds()
	return r, true
}

func (rt *route) dialError(ctx context.Context, address string) (text, remedy string) {
	var proxy *netdial.ProxyError
	var timeout interface{ Timeout() bool }
	err := rt.err
	switch {
	case errors.As(err, &proxy):
		return proxy.Error(), proxy.Hint()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return address + ": " + rt.c.late(ctx, err).Error(), "check the network"
	case errors.Is(err, syscall.ECONNREFUSED):
		return address + " refuses connections: nothing listens there", "correct the port in " + rt.key
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return "no route to " + address, "check the network: its address and its gateway"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("%s does not answer within %v", address, dialLimit), rt.blocked()
	}
	return err.Error(), "check the network"
}

// blocked is the remedy when packets are dropped.
func (rt *route) blocked() string {
	if rt.prefix == "mqtt" {
		return "a firewall may drop the port: mqtt.endpoint also works with :443, and through a web proxy named by https_proxy"
	}
	return "a firewall may drop it: allow the host and port, or name a web proxy in https_proxy"
}

func list(texts []string, most int) string {
	if len(texts) <= most {
		return strings.Join(texts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(texts[:most], ", "), len(texts)-most)
}
