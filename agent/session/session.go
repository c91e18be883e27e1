package session

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/retry"
	"github.com/culvert-iot/culvert/proxy"
)

// Tunnel is one websocket's life. proxy.Destination is one.
type Tunnel interface {
	// Run connects and serves until the websocket ends or ctx does. The websocket is gone when OnLost is called:
	// two connections of one pair must not stand together. Every local socket is closed when Run returns.
	Run(ctx context.Context) error
	Stats() proxy.Stats
}

var (
	errShutdown = errors.New("culvertd is stopping")
	errTooOld   = hint.New("the notification is 12 hours old, the longest life of a tunnel", adviceOpen)
)

// clockStep is how far the clock must have been set before a state file's time is rewritten: a device
// without a battery-backed clock may receive a token years ago.
const clockStep = time.Minute

// session is one token's life. Its goroutine is run; the manager owns it.
type session struct {
	id        string
	key       fingerprint
	endpoint  string
	region    string
	notified  []string // services of the notification
	received  time.Time
	began     time.Time // in this process
	cfg       *Config
	store     *store
	journal   *journal
	log       *slog.Logger
	cancel    context.CancelCauseFunc
	persistBy time.Time     // how long it waits for the disk
	logged    bool          // its beginning was logged, and so is its end; in a flood of tokens few are
	resumed   bool          // its pair is an earlier process's
	resumedOK bool          // and has worked there
	persisted chan struct{} // closed when the pair is on disk, or can't be
	admitted  chan struct{} // closed when it may connect
	retry     chan struct{} // has room for one request to connect without waiting longer

	// Guarded by the manager's lock.
	place place
	order int // of arrival

	// Of the goroutine alone.
	pair     pair
	saved    bool
	policy   policy
	failures int // attempts in a row that did not connect

	ending sync.WaitGroup // attempts whose websocket is lost

	mu        sync.Mutex // guards what follows
	status    Status     // without services
	services  []ServiceStatus
	downSince time.Time  // zero: connected
	attempts  []*attempt // that are not over: the present one, and those whose connections still end
}

func newSession(p pair, resumed bool, endpoint string, cfg *Config, st *store, j *journal, log *slog.Logger) *session {
	id, now := p.access.ID(), time.Now()
	// From here on by elapsed time: the clock may be set. If the clock is behind already, how long ago that was is not
	// known, and the stamp stays as it is: once the clock is right, so is the age.
	if !p.received.After(now) {
		p.received = now.Add(p.received.Sub(now))
	}
	s := &session{
		id: id, key: p.key(), endpoint: endpoint, region: p.region, notified: p.services, received: p.received, began: now, downSince: now,
		cfg: cfg, store: st, journal: j, log: log.With("session", id), pair: p, saved: resumed, resumed: resumed, resumedOK: p.worked,
		persisted: make(chan struct{}), admitted: make(chan struct{}), retry: make(chan struct{}, 1),
		policy: policy{retry.Policy{Worked: p.worked, Backoff: backoff.Backoff{Random: cfg.Random}}},
	}
	s.status = Status{
		Session: id, State: Connecting, Since: time.Now(), Received: p.received, Region: p.region, Endpoint: endpoint,
	}
	for _, name := range p.services {
		s.services = append(s.services, ServiceStatus{Service: name})
	}
	return s
}

// run keeps the tunnel up until it is over or ctx ends. It returns why.
func (s *session) run(ctx context.Context) error {
	defer s.ending.Wait()
	ctx, cancel := context.WithTimeoutCause(ctx, s.lifetime(), errTooOld)
	defer cancel()
	if ctx.Err() == nil && !s.saved && s.logged {
		s.persist(ctx) // before the first handshake, which binds the two tokens to each other
	}
	close(s.persisted)
	s.awaitPlace(ctx)
	for ctx.Err() == nil {
		select {
		case <-s.retry: // it is about an earlier wait
		default:
		}
		stood, err := s.connect(ctx)
		if ctx.Err() != nil {
			break
		}
		s.policy.Awaited = s.cfg.resume.Stats().Detached > 0
		next := s.policy.next(err, stood, time.Now())
		if next.end != nil {
			return &endError{next.end, err}
		}
		s.wait(err, stood, next.delay)
		if s.pause(ctx, err, next.delay) == nil {
			s.to(Connecting, func(st *Status) { st.NextAttempt = time.Time{} })
		}
	}
	if s.clockWasSet() || !s.saved && errors.Is(context.Cause(ctx), errShutdown) {
		s.save()
	}
	return context.Cause(ctx)
}

// pause waits for delay, or until the network has changed, unless the service itself asked for the wait.
func (s *session) pause(ctx context.Context, err error, delay time.Duration) error {
	if _, answered := errors.AsType[*proxy.HandshakeError](err); answered {
		return backoff.Sleep(ctx, delay)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.retry:
		s.policy.Backoff.Reset()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lifetime is how long the session may last. A pair of an earlier process that looks too old may only have
// been stamped by a wrong clock: the service decides whether its tunnel still exists.
func (s *session) lifetime() time.Duration {
	age := max(time.Since(s.received), 0)
	if s.resumed && age >= MaxAge {
		return MaxAge
	}
	return MaxAge - age
}

// persist saves the pair, and waits for the disk as long as a tunnel can.
func (s *session) persist(ctx context.Context) {
	limit := time.NewTimer(time.Until(s.persistBy))
	defer limit.Stop()
	select {
	case <-s.save():
	case <-limit.C:
	case <-ctx.Done():
	}
}

// awaitPlace returns when the session may connect, or ctx ends.
func (s *session) awaitPlace(ctx context.Context) {
	select {
	case <-s.admitted:
		return
	default:
	}
	s.to(Waiting, func(st *Status) { st.setError(errAwaitsPlace) })
	select {
	case <-s.admitted:
		s.to(Connecting, func(st *Status) { st.setError(nil) })
	case <-ctx.Done():
	}
}

// endError is the end of a session because the service refused its token.
type endError struct {
	reason error // what the refusal means for the user
	cause  error
}

func (e *endError) Error() string   { return e.reason.Error() }
func (e *endError) Unwrap() []error { return []error{e.reason, e.cause} }

// wait records and logs the pause before the next attempt.
func (s *session) wait(err error, stood, delay time.Duration) {
	s.to(Waiting, func(st *Status) { st.NextAttempt = time.Now().Add(delay) })
	shown := delay.Round(time.Millisecond)
	if stood > 0 {
		s.failures = 0
		s.log.Info("tunnel lost", "error", hint.Line(err), "delay", shown)
		return
	}
	s.failures++
	// A device may be offline for hours: name the attempts 1, 2, 4, 8 …
	level := slog.LevelDebug
	if s.failures&(s.failures-1) == 0 {
		level = slog.LevelInfo
	}
	s.log.Log(context.Background(), level, "tunnel not connected", "error", hint.Line(err), "delay", shown, "attempt", s.failures, "endpoint", s.endpoint)
}

// to is the one place where a session's state changes.
func (s *session) to(state State, change func(*Status)) {
	s.mu.Lock()
	from := s.status.State
	s.status.State, s.status.Since = state, time.Now()
	switch {
	case state == Connected:
		s.downSince = time.Time{}
	case s.downSince.IsZero():
		s.downSince = s.status.Since
	}
	if change != nil {
		change(&s.status)
	}
	s.mu.Unlock()
	if !slices.Contains(follows[from], state) {
		s.log.Error("a session changed its state in an order that culvertd does not know", "status", string(from)+" to "+string(state))
	}
}

// keepWorked writes down that the pair has worked: after a restart a refusal then gets more tries.
func (s *session) keepWorked() {
	if s.pair.worked && !s.clockWasSet() {
		return
	}
	s.pair.worked = true
	s.save()
}

// save writes the pair with the time of the notification as the clock of today would have shown it.
func (s *session) save() <-chan struct{} {
	s.pair.received = s.stamp()
	s.saved = true
	return s.store.save(s.pair)
}

// stamp is the wall clock time of the notification, by the time that has passed since.
func (s *session) stamp() time.Time { return time.Now().Add(-time.Since(s.received)).Round(0) }

func (s *session) clockWasSet() bool {
	return s.saved && s.stamp().Sub(s.pair.received).Abs() > clockStep
}

// snapshot returns the status of now.
func (s *session) snapshot() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Services = slices.Clone(s.services)
	for _, a := range s.attempts {
		st.Services = merge(st.Services, a.tunnel.Stats())
	}
	if st.Services == nil {
		st.Services = []ServiceStatus{}
	}
	return st
}

// maxCounted bounds the services that a session counts, those that are not configured included.
const maxCounted = 100

// merge adds a websocket's counts to those of the websockets before it. The tunnel's own list of services
// is the truth, and so are the names in it: a service that only the notification named stays, without counts.
func merge(before []ServiceStatus, now proxy.Stats) []ServiceStatus {
	all := slices.Clone(before)
	for _, n := range now.Services {
		i := slices.IndexFunc(all, func(s ServiceStatus) bool { return s.Service == n.Service })
		if i < 0 {
			i = len(all)
			if i >= maxCounted { // the names are the far side's, and each websocket may bring new ones
				continue
			}
			all = append(all, ServiceStatus{Service: n.Service})
		}
		s := &all[i]
		s.Connections += n.Connections
		s.Total += n.Total
		s.Refused += n.Refused
		s.BytesIn += n.BytesIn
		s.BytesOut += n.BytesOut
		if n.LastError != "" {
			s.LastError, s.LastErrorAt = n.LastError, n.LastErrorAt
		}
	}
	return all
}
