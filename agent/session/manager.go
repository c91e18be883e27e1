package session

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/internal/settings"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
)

// maxRecent is how many ended sessions Status still shows.
const maxRecent = 5

// Config is what the sessions of a device share.
type Config struct {
	settings.Sessions
	// ThingName is the device's. Pairs of another one are not resumed. Empty: all are.
	ThingName string
	// MaxConnections bounds the connections of all tunnels together. 0: each tunnel has its own limit only.
	MaxConnections int
	// HandOver keeps connections for the next process.
	HandOver HandOver
	// Services dials the local targets.
	Services *services.Table
	// TLS is asked before each handshake. nil: the system's roots.
	TLS func() *tls.Config
	// NetDial opens the TCP connection to the service. nil: wsconn's own.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)
	// Observe, if set, is called when a tunnel or connection opens or closes. It must be quick.
	Observe func(Event)
	// Logger is required.
	Logger *slog.Logger

	// NewTunnel makes one websocket's life. nil: proxy.NewDestination.
	NewTunnel func(proxy.DestinationConfig) Tunnel
	// Random draws from [0, 1) for the delays. nil: math/rand/v2.
	Random func() float64

	// Connected, if set, is called each time that a tunnel's websocket stands. It must be quick.
	Connected func()

	files  fileSystem        // nil: the real one
	budget *proxy.Budget     // of all tunnels
	resume *proxy.Resumption // likewise
}

// Manager holds all sessions of a device. Its methods are safe for concurrent use.
type Manager struct {
	cfg     Config
	store   *store
	journal *journal
	log     *slog.Logger
	tasks   sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	regions    []string
	maxTunnels int
	live       map[fingerprint]*session
	parked     []parked      // pairs on disk that the configuration refuses for now
	unread     chan struct{} // closed when Resume has read the state directory; nil if it was not called
	order      int           // of the latest session
	arranger   *time.Timer   // set while a token wants a place
	recent     []Status      // ended sessions, the latest first
	gone       Totals        // of the sessions that recent no longer holds
	refused    uint64        // tokens, since the start
}

// NewManager returns a manager without sessions. Call Resume once, then Accept at will, then Close.
func NewManager(cfg Config) *Manager {
	if cfg.NewTunnel == nil {
		cfg.NewTunnel = func(c proxy.DestinationConfig) Tunnel { return proxy.NewDestination(c) }
	}
	if cfg.files == nil {
		cfg.files = osFiles{}
	}
	cfg.resume = proxy.NewResumption(cfg.ResumeTimeout)
	cfg.budget = proxy.NewBudget(proxy.BudgetConfig{Connections: cfg.MaxConnections})
	m := &Manager{
		cfg: cfg, log: cfg.Logger, store: newStore(cfg.StateDir, cfg.ThingName, cfg.files, cfg.Logger),
		journal: newJournal(cfg.Logger, cfg.Observe),
		live:    make(map[fingerprint]*session),
	}
	m.SetLimits(cfg.MaxTunnels, cfg.Regions)
	return m
}

// SetLimits changes Config's MaxTunnels and Regions for the tokens to come. Live sessions stay.
func (m *Manager) SetLimits(maxTunnels int, regions []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.maxTunnels = cmp.Or(maxTunnels, settings.DefaultMaxTunnels)
	m.regions = slices.Clone(regions)
	m.arrange()
}

// Accept starts a session for a token that has none and had none within MaxAge. It ends no other session
// that is connected. It returns when the token is in the state directory, so that the sender may forget it,
// or after a second if the disk is slow. At MaxTunnels the session may still end for want of a place.
func (m *Manager) Accept(t Token) Outcome {
	if t.AccessToken.IsZero() {
		return Outcome{Result: Refused, Reason: "the token is empty"}
	}
	if t.Received.IsZero() {
		t.Received = time.Now()
	}
	limit, cancel := context.WithTimeout(context.Background(), diskPatience)
	defer cancel()
	p := pair{
		access: t.AccessToken, client: secret.NewClientToken(), thing: m.cfg.ThingName, region: t.Region, services: t.Services, received: t.Received,
	}
	stored := m.lookUp(limit, p)
	by, _ := limit.Deadline()
	o, s := m.start(p, stored, by)
	if s != nil {
		select {
		case <-s.persisted:
		case <-limit.Done():
		}
	}
	return o
}

// start returns the new session, or nil if there is none. stored is the token's pair on disk, if lookUp has found it. The
// session waits for the disk until by.
func (m *Manager) start(p pair, stored *pair, by time.Time) (Outcome, *session) {
	id := p.access.ID()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.live[p.key()]; ok || m.store.spent.has(p.key(), time.Now()) {
		m.log.Debug("tunnel's token is known already", "session", id)
		return Outcome{Result: Known, Session: id}, nil
	}
	if err := m.refuses(p); err != nil {
		m.refused++
		if m.journal.mayLog(&m.journal.tunnels, func(c *counts) { c.refused++ }) {
			m.log.Warn("tunnel refused", "session", id, "region", p.region, "services", listed(p.services), "reason", err)
		}
		return Outcome{Result: Refused, Session: id, Reason: err.Error()}, nil
	}
	m.order++
	s := m.begin(p, m.order, cmp.Or(m.unpark(p.key()), stored), by)
	m.arrange()
	return Outcome{Result: Accepted, Session: id}, s
}

// refuses returns why a pair can't have a session, whatever places are free.
func (m *Manager) refuses(p pair) error {
	if m.closed {
		return errShutdown
	}
	if _, err := m.endpoint(p.region); err != nil {
		return err
	}
	if len(m.regions) > 0 && !slices.Contains(m.regions, p.region) {
		return fmt.Errorf("region %s is not in tunnel.regions", p.region)
	}
	return nil
}

// begin starts a session without a place. known, if set, is the pair of the same token that is on disk; by is how long to
// wait for the disk otherwise.
func (m *Manager) begin(p pair, order int, known *pair, by time.Time) *session {
	resumed := known != nil
	if resumed {
		p = *known
	}
	endpoint, _ := m.endpoint(p.region)
	s := newSession(p, resumed, endpoint, &m.cfg, m.store, m.journal, m.log)
	s.logged = m.journal.mayLog(&m.journal.tunnels, func(c *counts) { c.accepted++ })
	switch {
	case !s.logged:
	case resumed:
		s.log.Info("tunnel resumed", "region", p.region, "services", listed(p.services))
	default:
		s.log.Info("tunnel accepted", "region", p.region, "services", listed(p.services))
	}
	if s.logged {
		m.nameMissing(s)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	m.live[s.key] = s
	s.order, s.persistBy = order, by
	m.tasks.Go(func() { m.finish(s, s.run(ctx)) })
	return s
}

// endpoint returns where tokens of the region are used.
func (m *Manager) endpoint(region string) (string, error) {
	if m.cfg.Endpoint != "" {
		return m.cfg.Endpoint, nil
	}
	host, err := endpoints.Data(region)
	if err != nil {
		return "", err
	}
	return "wss://" + host, nil
}

// nameMissing warns at the earliest moment of services that no source will reach. Case counts.
func (m *Manager) nameMissing(s *session) {
	configured := m.cfg.Services.Names()
	var missing []string
	for _, name := range s.notified {
		if !slices.Contains(configured, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return
	}
	have := "no service is configured here"
	if len(configured) > 0 {
		have = "configured here: " + strings.Join(configured, ", ")
	}
	s.log.Warn("tunnel names a service that is not configured here", "service", strings.Join(listed(missing), ", "), "reason", have)
}

// finish records the end of a session, whose goroutine it still is.
func (m *Manager) finish(s *session, end error) {
	s.cancel(end)
	shutdown := errors.Is(end, errShutdown)
	noPlace, refused := errors.AsType[*noPlaceError](end)
	switch { // first: a token that is in neither list would dial again
	case shutdown:
	case refused && s.status.Attempts == 0: // it was never used, and may come again
		m.store.forget(s.key)
	case s.saved:
		m.store.end(s.key, time.Now())
	default: // it came in a flood of them, and has never worked: that is not worth the disk's life
		m.store.spent.add(s.key, time.Now())
	}
	args := []any{"reason", hint.Line(end)}
	if e, ok := errors.AsType[*proxy.HandshakeError](end); ok {
		args = append(args, "error", e, "status", e.Status, "channel_id", e.ChannelID)
	}
	switch {
	case shutdown:
		s.log.Debug("tunnel stopped", args...)
	case refused && (s.logged || m.journal.mayLog(&m.journal.tunnels, func(c *counts) { c.refused++ })):
		s.log.Warn("tunnel refused", "region", s.region, "services", listed(s.notified), "reason", hint.Line(noPlace))
	case refused:
	case s.logged || s.policy.Worked:
		s.log.Info("tunnel ended", append(args, "region", s.region)...)
	default: // it came in a flood of them, and nothing ever came of it
		m.journal.skip(func(c *counts) { c.ended++ })
	}
	s.to(Ended, func(st *Status) { st.Reason, st.Hint, st.NextAttempt = end.Error(), hint.Of(end), time.Time{} })

	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, s.key)
	m.recent = slices.Insert(m.recent, 0, s.snapshot())
	for len(m.recent) > maxRecent {
		last := len(m.recent) - 1
		m.gone.add(m.recent[last], m.cfg.Services.Known)
		m.recent = m.recent[:last]
	}
	m.arrange()
}

// Counts returns how many sessions hold a place or try to take one, how many places there are, and how
// many tokens were refused since the start.
func (m *Manager) Counts() (live, limit int, refused uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.occupied(), m.maxTunnels, m.refused
}

// Status returns the live sessions, oldest first, and then the last few that ended, latest first.
func (m *Manager) Status() []Status {
	m.mu.Lock()
	live := make([]*session, 0, len(m.live))
	for _, s := range m.live {
		live = append(live, s)
	}
	recent := slices.Clone(m.recent)
	m.mu.Unlock()
	slices.SortFunc(live, func(a, b *session) int {
		return cmp.Or(a.received.Compare(b.received), cmp.Compare(a.id, b.id))
	})
	all := make([]Status, 0, len(live)+len(recent))
	for _, s := range live {
		all = append(all, s.snapshot())
	}
	return append(all, recent...)
}

// Retry makes sessions connect at once that wait after a lost or failed connection: the network or the clock has
// changed. It does not shorten a wait that the service's answer asked for.
func (m *Manager) Retry() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.live {
		select {
		case s.retry <- struct{}{}:
		default:
		}
	}
}

// Resumption counts the connections that wait to be resumed, and those that were.
func (m *Manager) Resumption() proxy.ResumptionStats { return m.cfg.resume.Stats() }

// Close ends all sessions and waits for them: streams are reset, websockets closed. The pairs stay in the
// state directory, so that Resume finds them. It fails when ctx ends first. A hand-over begins half a second after
// Close at the latest, and takes another half at most, and what HandOver.Put takes: that alone may go on for PutPatience
// after ctx's end.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	if m.arranger != nil {
		m.arranger.Stop()
	}
	if m.cfg.HandOver.Limit > 0 {
		m.cfg.resume.KeepForHandOver()
	}
	for _, s := range m.live {
		s.cancel(errShutdown)
	}
	m.mu.Unlock()
	ended, put, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		m.tasks.Wait()
		close(ended)
	}()
	go func() {
		if m.cfg.HandOver.Limit > 0 {
			m.handOver(ended, put)
		} else {
			close(put)
		}
		<-ended
		m.cfg.resume.Close()
		m.journal.close()
		if !m.store.close(ctx) {
			m.log.Warn("not all tokens are in the state directory, their tunnels will not survive the restart", "target", m.cfg.StateDir)
		}
		close(done)
	}()
	var late error
	select {
	case <-done:
	case <-ctx.Done():
		m.mu.Lock()
		if n := len(m.live); n > 0 { // otherwise only the disk is late
			late = fmt.Errorf("tunnels that have not ended in time: %d: %w", n, context.Cause(ctx))
		}
		m.mu.Unlock()
	}
	select {
	case <-put:
		return late
	case <-ctx.Done():
	}
	select {
	case <-put:
	case <-time.After(PutPatience):
	}
	return late
}
