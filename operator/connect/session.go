package connect

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/proxy"
)

const (
	// firstAttempts is how often the data endpoint is tried before it answered once. A wrong name or a firewall shows
	// at once; the network of a laptop that just woke up is back by then.
	firstAttempts = 4
	// stood is how long a connection must have stood for the delays to start over, stoodWhileAwaited the same while
	// applications wait for the next one: those that go on after each loss show that the service does more than accept
	// and drop.
	stood, stoodWhileAwaited = 10 * time.Second, time.Second
	// firstRefusals is how many tokens may be refused before the first success: another operator's rotation may have
	// spent the first one; more refusals show that the token is not the problem.
	firstRefusals = 3
	// minDispute and maxDispute bound the wait for other operators that found the same tunnel at the same moment. The
	// wait for the device covers it.
	minDispute, maxDispute = 100 * time.Millisecond, time.Second
	// maxDelay keeps a user at a terminal from waiting for long.
	maxDelay = 10 * time.Second
)

// session is this side's connection to one tunnel. It comes back after a lost link with the same pair of tokens, and
// with a new one when the service refuses that pair.
type session struct {
	cfg     *Config
	current atomic.Pointer[claim] // on the present tunnel; changes with mu held
	next    succession
	resume  *proxy.Resumption
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed at the end
	look    chan struct{} // gets a value when there is a link again while the device is away

	mu        sync.Mutex
	form      proxy.Form
	source    *proxy.Source // the present one, once it is ready; nil between two
	change    chan struct{} // closed when source or current changes
	err       error         // why it ended, after done
	before    *claim        // on the tunnel that the session has left, until the present one has let this side in; may be nil
	redials   int           // times that it came back
	on        *claim        // what the current websocket connects with
	drop      func(error)   // ends the current websocket
	confirmed bool          // the device understands the form
	drops     int           // starts in a row that made the device drop its websocket
	device    time.Time     // since when the device is connected, by the service's clock
	away      bool          // it was said to have left
	since     time.Time     // when source became ready
}

func newSession(cfg *Config, t *tunnel) *session {
	s := &session{cfg: cfg, done: make(chan struct{}), look: make(chan struct{}, 1), change: make(chan struct{}), form: proxy.V3}
	first := newClaim(t)
	first.contested = !t.opened && !t.takeOver
	s.current.Store(first)
	s.resume = proxy.NewResumption(cfg.ResumeTimeout)
	switch cfg.Destination {
	case V1:
		s.form = proxy.V1
	case V2:
		s.form = proxy.V2
	case Auto, V3:
	}
	return s
}

// errStopped ends a session on request, errNewForm a websocket to begin another one in another form.
var (
	errStopped = errors.New("the tunnel was left")
	errNewForm = errors.New("the form changes")
)

// tunnel is the present one.
func (s *session) tunnel() *tunnel { return s.current.Load().tunnel }

// start runs the session until stop, or until it fails for good.
func (s *session) start(ctx context.Context) {
	ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go func() {
		err := s.run(ctx)
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		s.resume.Close()
		close(s.done)
	}()
	if s.next.find != nil {
		go watchExpiry(ctx, s.expires, s.cfg.lead, s.movable, s.moveOn)
	}
}

// stop ends the session and waits for it.
func (s *session) stop() {
	s.cancel(errStopped)
	<-s.done
}

func (s *session) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *session) run(ctx context.Context) error {
	delays := backoff.Backoff{Min: 200 * time.Millisecond, Max: maxDelay}
	for failures, refusals := 0, 0; ; {
		present := s.current.Load()
		began := time.Now()
		up, err := s.connect(ctx, present)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, errNewForm) || s.current.Load() != present {
			continue // the websocket was ended here
		}
		enough := stood
		if up {
			failures = 0
			s.cfg.Logger.Info("source disconnected", "reason", err)
			lost := Event{Kind: Detached, Text: "the link to the data endpoint is lost, connecting again", Connections: s.resume.Stats().Detached}
			if lost.Connections > 0 {
				enough = stoodWhileAwaited
				lost.Text = "the link is lost, your session is kept and goes on when it is back"
			}
			s.cfg.Progress(lost)
		}
		if up && time.Since(began) > enough {
			delays.Reset()
		}
		var wait time.Duration
		refused, isRefused := errors.AsType[*proxy.HandshakeError](err)
		switch {
		case isRefusal(err):
			// The token is spent, was rotated away, or the tunnel has ended.
			if refusals++; refusals >= firstRefusals && !s.wasUp() {
				return s.unreachable(err)
			}
			switch why := s.renew(ctx, present, refused); {
			case why == nil:
			case errors.Is(why, errUnclear):
				refusals-- // the token may be as good as ever
			default:
				if err := s.goOn(ctx, present, why); err != nil {
					return err
				}
			}
		case !s.wasUp() && isHopeless(err):
			return s.unreachable(err)
		case s.wasUp():
		default:
			if failures++; failures >= firstAttempts && !isRefused {
				return s.unreachable(err)
			}
			s.cfg.notice("data endpoint: %s; trying again", hint.Line(err))
		}
		if isRefused {
			wait = refused.RetryAfter
		}
		if err := delays.Wait(ctx, wait); err != nil {
			return err
		}
	}
}

// connect is one websocket's life; up reports whether it was of use. It does nothing if c is no longer the present claim.
func (s *session) connect(ctx context.Context, c *claim) (up bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	if s.current.Load() != c {
		s.mu.Unlock()
		return false, nil
	}
	form := s.form
	s.drop, s.on = cancel, c
	s.mu.Unlock()
	source := proxy.NewSource(proxy.SourceConfig{
		Connection: s.connection(c), Form: form, Logger: s.cfg.Logger, Resume: s.resume,
		OnOpen: func(channelID, _ string) {
			c.links.Add(1)
			s.cfg.Logger.Info("source connected", "channel_id", channelID, "token", c.token.ID())
		},
	})
	var ready sync.WaitGroup
	ready.Go(func() {
		select {
		case <-source.Ready():
			s.publish(source)
			s.recordConnectedAt(ctx, c, source)
		case <-source.Done():
		}
	})
	links := c.links.Load()
	var asked atomic.Pointer[time.Time]
	err = source.Run(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		now := time.Now()
		asked.Store(&now)
	}}))
	if _, answered := errors.AsType[*proxy.HandshakeError](err); asked.Load() != nil && !answered && c.links.Load() == links {
		s.noteUnseen(c, *asked.Load())
	}
	s.publish(nil)
	cancel(nil)
	ready.Wait()
	select {
	case <-source.Ready():
		up = true
	default:
	}
	return up, err
}

// connection says where and as whom to connect.
func (s *session) connection(c *claim) proxy.Connection {
	return proxy.Connection{
		Endpoint: s.cfg.DataEndpoint, AccessToken: c.token, ClientToken: c.client, TLS: s.cfg.TLS, NetDial: s.cfg.NetDial,
	}
}

func (s *session) publish(source *proxy.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if source != nil {
		if hasEnded(source) {
			return // it has been unpublished already
		}
		s.since = time.Now()
		if s.redials++; s.redials > 1 {
			back := Event{Kind: Resumed, Text: "connected again", Connections: source.Kept()} // the device may have them already
			switch {
			case s.away:
				back.Text = "connected again, waiting for the device"
				select {
				case s.look <- struct{}{}:
				default:
				}
			case back.Connections > 0:
				back.Text = "connected again, your session goes on"
			}
			s.cfg.Progress(back)
		}
	}
	s.source = source
	close(s.change)
	s.change = make(chan struct{})
}

func (s *session) wasUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redials > 0
}

// ready waits for a source that is connected.
func (s *session) ready(ctx context.Context) (*proxy.Source, error) { return s.readyAfter(ctx, nil) }

// readyAfter waits for a websocket that replaces old. One that has ended does not count, although the session may not
// know it yet: a caller that explains its end would take it for the next one.
func (s *session) readyAfter(ctx context.Context, old *proxy.Source) (*proxy.Source, error) {
	for {
		s.mu.Lock()
		source, change := s.source, s.change
		s.mu.Unlock()
		if source != nil && source != old && !hasEnded(source) {
			return source, nil
		}
		select {
		case <-change:
		case <-s.done:
			return nil, s.failure()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func hasEnded(source *proxy.Source) bool {
	select {
	case <-source.Done():
		return true
	default:
		return false
	}
}

// link names the present websocket; 0 is none.
func (s *session) link() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source == nil {
		return 0
	}
	return s.redials
}

// carry gives local to the tunnel. On an error local is left to the caller.
func (s *session) carry(ctx context.Context, service string, local net.Conn) error {
	if s.formUnknown() {
		return s.openHeld(ctx, service, local)
	}
	return s.open(ctx, service, local)
}

func (s *session) open(ctx context.Context, service string, local net.Conn) error {
	for {
		source, err := s.ready(ctx)
		if err != nil {
			return err
		}
		if far := farEndOf(local); far != nil {
			far.source.Store(source)
		}
		if err = source.Open(ctx, service, local); !errors.Is(err, proxy.ErrEnded) {
			return err
		}
		select { // it ends, and another one takes its place
		case <-source.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func farEndOf(local net.Conn) *farEnd {
	if h, ok := local.(*held); ok {
		local = h.local
	}
	far, _ := local.(*farEnd)
	return far
}
