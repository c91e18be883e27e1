package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/netdial"
)

// proxies tells which way connections leave the device.
func (c *checkup) proxies(context.Context) []*Result {
	const id = "proxy"
	ways := map[string]bool{}
	text := ""
	addresses := []string{c.cfg.MQTT.Address()}
	for _, e := range c.endpoints() {
		addresses = append(addresses, e.address)
	}
	for _, address := range addresses {
		proxy, variable, err := c.dialer.Via(address)
		if err != nil {
			if inner := errors.Unwrap(err); inner != nil {
				err = inner // without the host, since it is wrong for all of them
			}
			return []*Result{failed(id, "correct it, or unset it", "%v", err)}
		}
		if proxy != "" {
			text = proxy + ", named by " + variable
		}
		ways[proxy] = true
	}
	switch {
	case text == "":
		text = "none for these hosts, by this shell's environment"
	case ways[""]:
		text += ", for some hosts"
	}
	if other, differs := c.daemonProxy(); differs {
		return []*Result{warning(id, "give both the same: systemctl edit culvertd, with [Service] and Environment=https_proxy=…",
			"%s; the running daemon has %s", text, other)}
	}
	return []*Result{well(id, "%s", text)}
}

// proxyVariables are what names web proxies and exceptions, in netdial's order of precedence.
var proxyVariables = [][2]string{{"https_proxy", "HTTPS_PROXY"}, {"no_proxy", "NO_PROXY"}}

// daemonProxy compares the environment of a running daemon with this process's. It may look at it only as root or as
// the daemon's user.
func (c *checkup) daemonProxy() (shown string, differs bool) {
	if c.daemon.pid == 0 {
		return "", false
	}
	data, err := os.ReadFile(c.at(fmt.Sprintf("/proc/%d/environ", c.daemon.pid)))
	if err != nil {
		return "", false
	}
	theirs := map[string]string{}
	for pair := range strings.SplitSeq(string(data), "\x00") {
		name, value, _ := strings.Cut(pair, "=")
		theirs[name] = strings.TrimSpace(value)
	}
	for _, names := range proxyVariables {
		their, our := theirs[names[0]], strings.TrimSpace(os.Getenv(names[0]))
		if their == "" {
			their = theirs[names[1]]
		}
		if our == "" {
			our = strings.TrimSpace(os.Getenv(names[1]))
		}
		switch their {
		case our:
		case "":
			return "no " + names[0], true
		default:
			return "another " + names[0], true // its value may hold a password
		}
	}
	return "", false
}

// way is how a connection to one host was made: its dial function notes each step's outcome.
type way struct {
	c       *checkup
	prefix  string // of ids: "mqtt" or "tunnel"
	subject string
	host    string
	key     string // the configuration's, for remedies
	began   time.Time

	mu     sync.Mutex
	dialed bool
	err    error         // of the last dial
	took   time.Duration // until it was connected
	to     string        // the address on the other side
}

func (c *checkup) newWay(prefix, subject, host, key string) *way {
	return &way{c: c, prefix: prefix, subject: subject, host: host, key: key, began: time.Now()}
}

// name resolves the host, unless it is an address, or a proxy will do it.
func (w *way) name(ctx context.Context, address string) (*Result, bool) {
	id := w.prefix + ".name"
	if _, err := netip.ParseAddr(w.host); err == nil {
		return skipped(id, "%s is an address", w.host).of(w.subject), true
	}
	if proxy, _, err := w.c.dialer.Via(address); err == nil && proxy != "" {
		return skipped(id, "%s is resolved by the web proxy", w.host).of(w.subject), true
	}
	limited, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	began := time.Now()
	addresses, err := net.DefaultResolver.LookupHost(limited, w.host)
	if err != nil {
		text, remedy := w.nameError(err)
		return failed(id, remedy, "%s: %s", w.host, text).of(w.subject).since(began), false
	}
	return well(id, "%s has %s", w.host, list(addresses, 3)).of(w.subject).since(began), true
}

func (w *way) nameError(err error) (text, remedy string) {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return "there is no such name", "correct " + w.key + "; if the name is right, the name servers of /etc/resolv.conf do not know it"
	}
	return "no answer from DNS", "check the network and the name servers in /etc/resolv.conf"
}

// dial is the dial function of a connection that is being checked.
func (w *way) dial(ctx context.Context, network, address string) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	began := time.Now()
	conn, err := w.c.dialer.DialContext(limited, network, address)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialed, w.err, w.took = true, err, time.Since(began)
	if err == nil {
		w.to = conn.RemoteAddr().String()
	}
	return conn, err
}

// tcp tells how the dial went; ok is whether it did.
func (w *way) tcp(ctx context.Context, address string) (r *Result, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.prefix + ".tcp"
	if !w.dialed {
		return skipped(id, "not tried").of(w.subject), false
	}
	if w.err != nil {
		text, remedy := w.dialError(ctx, address)
		r = failed(id, remedy, "%s", text).of(w.subject)
		r.Milliseconds = w.took.Milliseconds()
		return r, false
	}
	through := ""
	if proxy, _, err := w.c.dialer.Via(address); err == nil && proxy != "" {
		through = " through " + proxy
	} else if !strings.HasPrefix(w.to, w.host+":") && w.to != address {
		through = ", " + w.to
	}
	r = well(id, "%s%s", address, through).of(w.subject)
	r.Milliseconds = w.took.Milliseconds()
	return r, true
}

func (w *way) dialError(ctx context.Context, address string) (text, remedy string) {
	var proxy *netdial.ProxyError
	var timeout interface{ Timeout() bool }
	err := w.err
	switch {
	case errors.As(err, &proxy):
		return proxy.Error(), proxy.Hint()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return address + ": " + w.c.late(ctx, err).Error(), "check the network"
	case errors.Is(err, syscall.ECONNREFUSED):
		return address + " refuses connections: nothing listens there", "correct the port in " + w.key
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return "no route to " + address, "check the network: its address and its gateway"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("%s does not answer within %v", address, dialLimit), w.blocked()
	}
	return err.Error(), "check the network"
}

// blocked is for connections that somebody swallows.
func (w *way) blocked() string {
	if w.prefix == "mqtt" {
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
