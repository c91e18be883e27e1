package holder

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/accept"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
)

// Times of a holder.
const (
	requestTime = 10 * time.Second // for a client's request
	firstUse    = 30 * time.Second // for the first session to come
	idleTime    = 10 * time.Second // without a session until Idle is called
	emptyTime   = 5 * time.Second  // without a session and a tunnel: the command may be repeated
)

// Server is the holder's side: see the package comment. Thing, Version and Config are required.
type Server struct {
	Thing   string
	Version string         // of the program
	Config  connect.Config // a request sets Lifetime, Wait, TakeOver, Keep and Price
	Log     string         // the file that Logger writes to
	Logger  *slog.Logger

	// Leave makes new clients find another holder: it removes the socket, and keeps clients from starting a holder
	// until release is called. nil: there is no socket to remove.
	Leave func() (release func())

	// Known, if set, returns the services that the thing is known to have, the last used first. A new tunnel names
	// them, too. Learn, if set, is called when a service has answered. Both may be called concurrently.
	Known func() []string
	Learn func(service string)

	// Idle, if set, is called after 10 seconds without a session.
	Idle func()

	own     net.Listener // at address: see [ownMark]; nil: there is none
	address string

	openTunnel func(context.Context, connect.Config, string, []string) (tunnel, error) // nil is openTunnel; tests set it

	ctx     context.Context //nolint:containedctx // it bounds what the holder does until its end
	stop    context.CancelFunc
	since   time.Time
	left    sync.Once
	closing sync.Once

	mu       sync.Mutex
	tunnels  []*held
	opening  *opening
	opened   int // tunnels so far, also in vain
	shares   int // so far
	sessions int
	persist  time.Duration
	price    string
	timer    *time.Timer
	idle     *time.Timer
	ends     time.Time // when the timer goes off; zero while it does not run
	draining bool      // only connections of the present sessions begin
	ending   bool      // nothing begins
	closeErr error
}

// tunnel is the part of a [connect.Tunnel] that a holder uses.
type tunnel interface {
	ID() string
	Opened() bool
	Services() []string
	Expires() time.Time
	Done() <-chan struct{}
	Err() error
	Dial(ctx context.Context, service string) (net.Conn, error)
	Watch(ctx context.Context)
	Keep(keep bool)
	Close() error
}

func openTunnel(ctx context.Context, cfg connect.Config, thing string, services []string) (tunnel, error) {
	return connect.Open(ctx, cfg, thing, services...)
}

// held is a tunnel and the sessions that use it.
type held struct {
	tunnel

	share    int // as in a Request
	since    time.Time
	in, out  int64
	sessions map[*session]bool
}

// Run serves l until ctx ends, a client asks the holder to end, or it has had no session for the time that the last
// session asked for. Then it closes l and the tunnels, and returns the error of closing them.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.openTunnel == nil {
		s.openTunnel = openTunnel
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	s.since = time.Now()
	s.mu.Lock()
	s.arm(firstUse)
	s.mu.Unlock()
	var all sync.WaitGroup
	if s.own != nil {
		all.Go(func() { s.accept(s.own, &all) })
	}
	s.accept(l, &all)
	all.Wait()
	return s.closeErr
}

// accept serves the clients that come to l until the holder ends. It closes l.
func (s *Server) accept(l net.Listener, all *sync.WaitGroup) {
	defer l.Close()
	defer context.AfterFunc(s.ctx, func() { _ = l.Close() })()
	accepting := accept.Acceptor{Listener: l, Warn: func(err error) { s.Logger.Warn("commands cannot be accepted for now", "error", err) }}
	for {
		c, err := accepting.Next(s.ctx)
		if err != nil {
			if s.ctx.Err() == nil {
				s.Logger.Error("holder stops", "error", err)
			}
			break
		}
		all.Go(func() { s.serve(c) })
	}
	s.shutdown()
}

// arm ends the holder after d without a session. The caller has mu.
func (s *Server) arm(d time.Duration) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.ends = time.Now().Add(d)
	s.timer = time.AfterFunc(d, func() {
		if s.end(true) {
			s.Logger.Info("holder ends", "reason", "not used for "+d.String())
			s.shutdown()
		}
	})
}

// end lets nothing begin. With onlyIdle it does nothing if there is a session, and returns false.
func (s *Server) end(onlyIdle bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if onlyIdle && s.sessions > 0 {
		return false
	}
	s.ending = true
	return true
}

// shutdown removes the socket and closes the tunnels, also one that is just being opened, before a new holder may look for
// one.
func (s *Server) shutdown() {
	s.closing.Do(func() {
		s.end(false)
		defer s.leaveSocket()()
		s.mu.Lock()
		opening := s.opening
		s.mu.Unlock()
		if opening != nil {
			opening.cancel()
			<-opening.done
		}
		s.mu.Lock()
		tunnels := s.tunnels
		s.tunnels = nil
		s.mu.Unlock()
		for _, t := range tunnels {
			if err := t.Close(); err != nil {
				s.Logger.Error("tunnel not closed", "tunnel", t.ID(), "error", err)
				s.mu.Lock()
				s.closeErr = errors.Join(s.closeErr, err)
				s.mu.Unlock()
				continue
			}
			s.Logger.Info("tunnel left", "tunnel", t.ID(), "opened", t.Opened())
		}
		s.stop()
	})
}

// leaveSocket calls Leave, once. It returns Leave's release.
func (s *Server) leaveSocket() (release func()) {
	release = func() {}
	s.left.Do(func() {
		if s.Leave != nil {
			release = s.Leave()
		}
	})
	return release
}

// drain lets the present sessions end, with the connections that they still make, and refuses new ones.
func (s *Server) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.Logger.Info("holder gives way to another version")
	release := s.leaveSocket()
	defer release()
	s.mu.Lock()
	idle := s.sessions == 0
	s.mu.Unlock()
	if idle {
		s.shutdown()
	}
}

func (s *Server) enter(r Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || s.draining && !r.isConnection() || s.ctx.Err() != nil {
		return errStopped
	}
	s.sessions++
	s.persist, s.price = cmp.Or(r.Persist, s.persist), cmp.Or(r.Price, s.price)
	if s.timer != nil {
		s.timer.Stop()
	}
	s.ends = time.Time{}
	return nil
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions--; s.sessions == 0 && s.ctx.Err() == nil {
		s.idleAfter()
		d := s.persist
		switch {
		case s.draining:
			d = 0
		case !s.holds():
			d = min(d, emptyTime)
		}
		s.arm(d)
	}
}

// holds reports whether there is a tunnel. The caller has mu.
func (s *Server) holds() bool {
	return slices.ContainsFunc(s.tunnels, func(t *held) bool { return !t.isOver() })
}

// tunnelEnded lets a holder end that has nothing left to hold.
func (s *Server) tunnelEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions == 0 && !s.holds() && !s.draining && time.Until(s.ends) > emptyTime {
		s.arm(emptyTime)
	}
}

// idleAfter calls Idle unless a session comes. The caller has mu.
func (s *Server) idleAfter() {
	if s.Idle == nil {
		return
	}
	if s.idle != nil {
		s.idle.Stop()
	}
	s.idle = time.AfterFunc(idleTime, func() {
		s.mu.Lock()
		is := s.sessions == 0 && s.ctx.Err() == nil
		s.mu.Unlock()
		if is {
			s.Idle()
		}
	})
}

func (s *Server) status() *Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &Status{Thing: s.Thing, PID: os.Getpid(), Since: s.since, Log: s.Log, Opened: s.opened, Price: s.price, Ends: s.ends, Tunnels: []TunnelStatus{}}
	for _, t := range s.tunnels {
		if t.isOver() {
			continue
		}
		ts := TunnelStatus{
			ID: t.ID(), Opened: t.Opened(), Services: t.Services(), Since: t.since, Expires: t.Expires(), BytesIn: t.in, BytesOut: t.out,
		}
		for who := range t.sessions {
			if who.request.Share == 0 { // the others are connections of these sessions
				ts.Users++
			}
		}
		st.Tunnels = append(st.Tunnels, ts)
	}
	return st
}

// errStopped sends a client to the next holder. errEnded is for one whose wish ended with this one.
var (
	errStopped = errors.New("the holder is ending")
	errEnded   = hint.Wrap(&connect.Error{Reason: connect.TunnelClosed, Text: "the background holder was ended"},
		"run the command again: it starts another one")
)
