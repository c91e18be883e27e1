package localproxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/accept"
	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/proxy"
)

// source listens for local clients. Its listeners outlive the websocket: a client that connects while the tunnel
// reconnects waits for it.
type source struct {
	cfg    *Config
	j      *journal
	ctx    context.Context //nolint:containedctx // ends with the source, not with a call
	cancel context.CancelFunc
	wg     sync.WaitGroup
	resume *proxy.Resumption // of connections to culvertd

	mu        sync.Mutex
	listeners []*listener
	current   *proxy.Source // nil while there is none that is ready
	services  []string      // of the tunnel, once current was set
	changed   chan struct{} // closed when current changes
}

// listener is one local port.
type listener struct {
	net.Listener
	mapped  string // the service of its mapping, or ""
	serving bool   // clients are accepted
	told    bool   // that it listens
	service string // the tunnel's service that it leads to, while known
	known   bool   // false: the tunnel has nothing for it
}

func (l *listener) port() int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// newSource binds the requested ports before the first handshake: a port in use must not cost a token.
func newSource(cfg *Config, j *journal) (*source, error) {
	s := &source{cfg: cfg, j: j, changed: make(chan struct{}), resume: proxy.NewResumption(cfg.ResumeTimeout)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, m := range cfg.Mappings {
		if _, err := s.listen(m); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *source) listen(m Mapping) (*listener, error) {
	network := m.Network
	if host, err := netip.ParseAddrPort(m.Address); err == nil && host.Addr().Is4() && network == "tcp" {
		network = "tcp4" // 0.0.0.0 is not IPv6's "any" as well
	}
	l, err := new(net.ListenConfig).Listen(s.ctx, network, m.Address)
	if err != nil {
		advice := "correct -s or -b"
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			advice = "another program has the port: choose another one, or 0 for any"
		case errors.Is(err, syscall.EACCES):
			advice = "ports below 1024 belong to root: choose a higher one"
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			advice = "this machine has no such address: correct -b"
		}
		return nil, hint.Wrap(err, advice)
	}
	out := &listener{Listener: l, mapped: m.Service}
	s.listeners = append(s.listeners, out)
	return out, nil
}

func (s *source) tunnel(c proxy.Connection, onOpen func(channelID, subprotocol string)) tunnel {
	return &sourceTunnel{s, proxy.NewSource(proxy.SourceConfig{Connection: c, Form: s.cfg.Form, Logger: s.j.logger(), OnOpen: onOpen, Resume: s.resume})}
}

// sourceTunnel is a websocket whose readiness is noted.
type sourceTunnel struct {
	side *source
	src  *proxy.Source
}

func (t *sourceTunnel) Run(ctx context.Context) error {
	t.side.wg.Go(func() {
		select {
		case <-t.src.Ready():
			t.side.ready(t.src)
		case <-t.src.Done():
		}
	})
	return t.src.Run(ctx)
}

// ready lets clients in, once the tunnel's services are known.
func (s *source) ready(src *proxy.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.services = src.Services()
	s.assign()
	for _, name := range s.missing() {
		s.listenAnywhere(name)
	}
	for _, l := range s.listeners {
		if l.known && !l.told {
			l.told = true
			s.j.printf(levelInfo, "Listening for new connection on port %d", l.port())
		}
		if !l.serving { // even without a service in the tunnel: clients are refused at once
			l.serving = true
			s.wg.Go(func() { s.serve(l) })
		}
	}
	if !isDone(src) { // lost may have been called already
		s.set(src)
	}
}

// assign finds the tunnel's service of each listener. A difference between the mappings and the tunnel's services
// is logged, and stops nothing.
func (s *source) assign() {
	for _, l := range s.listeners {
		before := l.known
		switch {
		case len(s.services) == 0:
			// A tunnel that was opened without services has one nameless stream.
			l.service, l.known = "", len(s.listeners) == 1
		case l.mapped != "":
			l.service, l.known = l.mapped, slices.Contains(s.services, l.mapped)
		case len(s.services) == 1:
			l.service, l.known = s.services[0], true
		default:
			l.service, l.known = "", false
		}
		switch {
		case l.known || l.serving && !before:
		case l.mapped == "":
			s.j.printf(levelError, "the tunnel has the services %s: say which one port %d leads to, as in -s %s=%d",
				strings.Join(s.services, ", "), l.port(), s.services[0], l.port())
		default:
			s.j.printf(levelWarning, "the tunnel has no service %s: port %d leads nowhere", l.mapped, l.port())
		}
	}
}

// missing lists the services that no listener leads to.
func (s *source) missing() []string {
	names := s.services
	if len(names) == 0 && len(s.listeners) == 0 {
		names = []string{""}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(s.listeners, func(l *listener) bool { return l.known && l.service == name })
	})
}

func (s *source) listenAnywhere(name string) {
	l, err := s.listen(Mapping{name, "tcp", net.JoinHostPort(s.cfg.BindHost, "0")})
	if err != nil {
		s.j.printf(levelError, "service %s: %s", name, hint.Line(err))
		return
	}
	l.service, l.known = name, true
	s.j.printf(levelInfo, "Listen port assigned for service id %s. New port mapping:", name)
	s.j.printf(levelInfo, "%s = %d", name, l.port())
}

// set changes the current websocket; mu is held.
func (s *source) set(src *proxy.Source) {
	s.current = src
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *source) lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(nil)
	return s.resume.Stats().Detached > 0
}

// fullDelay is the pause before a full tunnel is tried again.
const fullDelay = 50 * time.Millisecond

func (s *source) serve(l *listener) {
	accepting := accept.Acceptor{Listener: l, Warn: func(err error) {
		s.j.printf(levelWarning, "new connections on port %d wait: %s", l.port(), hint.Line(err))
	}}
	for {
		local, err := accepting.Next(s.ctx)
		switch {
		case s.ctx.Err() != nil:
			if err == nil {
				_ = local.Close()
			}
			return
		case err != nil:
			s.j.printf(levelError, "accept on port %d: %v", l.port(), err)
			return
		}
		s.j.printf(levelDebug, "Accepted a connection on port %d from %s", l.port(), local.RemoteAddr())
		if err := s.open(l, local); err != nil {
			if tcp, ok := local.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // a reset: it must not look like an empty answer
			}
			_ = local.Close()
			s.j.printf(levelWarning, "connection on port %d refused: %v", l.port(), err)
		}
	}
}

// open carries local to the listener's service. Without a tunnel it waits for one.
func (s *source) open(l *listener, local net.Conn) error {
	for {
		s.mu.Lock()
		src, changed, service, known := s.current, s.changed, l.service, l.known
		s.mu.Unlock()
		if src == nil {
			select {
			case <-changed:
				continue
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
		}
		if !known {
			return errors.New("the tunnel has no service for it")
		}
		err := src.Open(s.ctx, service, local)
		if errors.Is(err, proxy.ErrFull) { // this client waits, and others in the queue behind it
			s.j.printf(levelDebug, "a connection on port %d waits: %v", l.port(), err)
			if err := backoff.Sleep(s.ctx, fullDelay); err != nil {
				return err
			}
			continue
		}
		if err == nil || !errors.Is(err, proxy.ErrEnded) && !isDone(src) {
			return err
		}
		select {
		case <-changed: // the websocket has ended; another one will come
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

func isDone(src *proxy.Source) bool {
	select {
	case <-src.Done():
		return true
	default:
		return false
	}
}

// close closes every port and waits for its goroutines.
func (s *source) close() {
	s.cancel()
	s.mu.Lock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.resume.Close()
}
