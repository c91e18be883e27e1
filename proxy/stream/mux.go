package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/loglimit"
	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// mux is one websocket's streams. Role-specific rules are in Destination and Source.
type mux struct {
	cfg      Config
	dialFunc func(ctx context.Context, service string) (net.Conn, error)
	notice   loglimit.Limiter
	dials    *dialTurns
	floods   floods
	resume   *resume.Registry
	owner    any
	source   bool // this side starts connections

	ctx    context.Context //nolint:containedctx // it bounds dials, which outlive the call that starts them
	cancel context.CancelFunc
	wg     sync.WaitGroup // connections

	mu       *sync.Mutex        // that of the registry, if there is one: connections move between its muxes
	streams  map[string]*stream // active, by service id as on the wire
	conns    map[*connection]struct{}
	backlog  backlog       // what waits for targets; the reader waits here for room
	deferred []*connection // the reader alone: those whose inbox it writes before it reads on
	idle     sync.Cond     // Shutdown waits here for the sender
	progress               // how far the websocket is on its way to its end
	services []string      // the tunnel's, from SERVICE_IDS
	stats    statistics
	back     int      // connections that were resumed and not logged yet
	attaches attacher // source: itself, once connections may be attached
	farEnd   farEnd   // source: what it knows of the destination

	// the sender's
	work           sync.Cond
	control, spare []byte // frames that go before data; spare is the one being sent
	batch          [][]byte
	lent           []*resume.Block // memory that the batch is sent from
	sched          scheduler
	pace           pacer
}

func newMux(cfg Config) *mux {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = DefaultStallTimeout
	}
	m := &mux{
		cfg: cfg, dials: newDialTurns(cfg.Budget), floods: newFloods(), resume: cfg.Resume, owner: cfg.Owner,
		farEnd:  farEnd{timeout: defaultAnswerTimeout},
		streams: make(map[string]*stream), conns: make(map[*connection]struct{}),
	}
	if m.owner == nil {
		m.owner = m
	}
	m.mu = new(sync.Mutex)
	if m.resume != nil {
		m.mu = &m.resume.Mutex
	}
	m.sched.quantum = turn
	m.pace = pacer{began: time.Now(), wake: m.answersLate}
	if p, ok := cfg.Transport.(Prober); ok {
		m.pace.prober = p
		p.OnProbe(m.passed)
	}
	m.backlog = backlog{mu: m.mu, budget: cfg.Budget, evict: func(q *inbox, nothing bool) { m.stalled(q.conn, nothing) }}
	m.backlog.each = func(f func(*inbox)) {
		for c := range m.conns {
			if !c.carried { // those have a limit of their own
				f(&c.inbox)
			}
		}
	}
	m.backlog.room.L, m.idle.L, m.work.L = m.mu, m.mu, m.mu
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// testYield is called in each section that has given the lock up, where a test sets it.
var testYield func()

// unlock gives the lock up for a while, relock takes it again. The state may be another one then.
func (m *mux) unlock() {
	m.mu.Unlock()
	if testYield != nil {
		testYield()
	}
}

func (m *mux) relock() {
	if testYield != nil {
		testYield()
	}
	m.mu.Lock()
}

// serve reads until the websocket ends, then ends every connection, and returns why it ended. handle is
// called with mu held.
func (m *mux) serve(handle func(*frame.Message) error) error {
	m.backlog.budget.join(&m.backlog)
	defer m.backlog.budget.leave(&m.backlog)
	read := make(chan struct{})
	sent := make(chan error, 1)
	go func() { sent <- m.send(read) }()
	err := m.readLoop(handle)
	close(read)

	m.mu.Lock()
	m.ended = true
	m.endAll()
	m.work.Broadcast()
	m.idle.Broadcast()
	m.mu.Unlock()
	_ = m.cfg.Transport.Close(closeCode(err))
	if sendErr := <-sent; sendErr != nil {
		err = sendErr
	}
	if m.cfg.OnLost != nil && !m.stopping() {
		m.cfg.OnLost(err)
	}
	m.awaitConnections()
	return err
}

// send runs the sender. It returns an error only where that is what ended the websocket: a reader that
// ended first, or soon after, knows better why.
func (m *mux) send(read <-chan struct{}) error {
	err := m.sendLoop()
	if err == nil {
		return nil
	}
	m.mu.Lock()
	m.mute = true
	m.control, m.spare = m.control[:0], m.spare[:0]
	m.backlog.room.Broadcast()
	m.idle.Broadcast()
	m.mu.Unlock()

	grace := time.NewTimer(readGrace)
	defer grace.Stop()
	select {
	case <-read:
		return nil
	case <-grace.C:
	}
	m.mu.Lock()
	m.ended = true
	m.backlog.room.Broadcast()
	m.mu.Unlock()
	_ = m.cfg.Transport.Close(closeGoingAway, "")
	return fmt.Errorf("send to the tunnel: %w", err)
}

func (m *mux) readLoop(handle func(*frame.Message) error) error {
	in := frame.NewReader(input{m})
	var msg frame.Message
	for {
		if err := in.Next(&msg); err != nil {
			return err
		}
		if err := m.step(&msg, handle); err != nil {
			return err
		}
	}
}

func (m *mux) step(msg *frame.Message, handle func(*frame.Message) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing || m.resume != nil && m.resume.HandOver { // what came now would be for the next process
		return nil
	}
	if err := handle(msg); err != nil {
		return err
	}
	m.slowSmallFrames(len(msg.Payload))
	// A peer that provokes answers faster than they can be sent is not read any further.
	for len(m.control) > controlHigh && !m.ended {
		m.writeDeferred()
		m.backlog.room.Wait()
	}
	return nil
}

// Close codes of RFC 6455, section 7.4.1.
const (
	closeNormal    = 1000
	closeGoingAway = 1001
	closeProtocol  = 1002
)

func closeCode(err error) (int, string) {
	var violation *ProtocolError
	if errors.As(err, &violation) || errors.Is(err, frame.ErrMalformed) {
		return closeProtocol, "protocol error"
	}
	return closeGoingAway, ""
}

// begin adds a connection to s and starts it. target is nil where it must be dialled.
func (m *mux) begin(s *stream, id uint32, target net.Conn) *connection {
	now := time.Now()
	c := &connection{mu: m.mu, m: m, s: s, id: id, began: now, observer: m.cfg.Observer}
	c.inbox.conn, c.inbox.progress = c, now
	c.member = member{conn: c, born: m.sched.message, overhead: overhead(c)}
	c.served.L = m.mu
	s.conns[id] = c
	c.joinTunnel(m)
	if m.cfg.OnStream != nil {
		m.cfg.OnStream()
	}
	m.stats.joined(s.name)
	m.cfg.Logger.Debug("connection started", "service", s.name, "stream", s.id, "connection", id, "form", s.form.String())
	if target != nil {
		m.stats.requested(s.name)
		c.running = 1
		c.attach(target)
		go c.adopt()
		return c
	}
	if records, known := offers(s.id); m.resume != nil && s.form.Connection && records {
		s.records = s.records || known
		c.offered, c.vacant = !s.records, s.records
	}
	switch {
	case c.vacant:
		c.targetDone = true
		c.half.timer = time.AfterFunc(vacantTimeout, c.unclaimed)
	case m.place(c):
		m.startDial(c)
	default:
		c.targetDone = true
		c.end(aborted, true)
	}
	return c
}

// place gives c, which is about to dial its target, a place among the process's connections. If none is left, one that
// waits for a websocket gives way, of a tunnel that has more of those than this one has connections. It is called once
// for each connection that is a separate one, and counts those.
func (m *mux) place(c *connection) bool {
	m.stats.requested(c.s.name)
	y := m.backlog.budget
	switch {
	case y.connect(&m.backlog):
	case m.resume != nil && m.resume.Evict(y.connectionsOf(&m.backlog)):
		y.count(&m.backlog, 1, 1)
	default:
		m.warn("too many in all", "connection refused: all tunnels together have too many",
			"service", c.s.name, "limit", y.cfg.Connections)
		m.stats.refused(c.s.name)
		return false
	}
	c.placed = true
	return true
}

// startDial dials c's target. The dial outlives the websocket, as c may.
func (m *mux) startDial(c *connection) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.ctx))
	c.cancel, c.targetDone = cancel, false
	c.running++
	go c.connect(ctx, m, c.s.name)
}

// remove takes c out of its stream's table, so that nothing more is delivered to it. Without connection
// ids the stream has ended with its connection.
func (m *mux) remove(c *connection) {
	if c.s.conns[c.id] == c {
		delete(c.s.conns, c.id)
	}
	if !c.s.form.Connection {
		delete(m.streams, c.s.service)
	}
}

// forget drops the last trace of c, whose target is closed and which has no goroutine any more.
func (m *mux) forget(c *connection) {
	done := m.wg.Done
	tunnel := 0
	if c.joined {
		m.uncount(c)
		tunnel = -1
	} else {
		done = m.resume.Ending.Done
	}
	if c.placed {
		c.placed = false
		m.backlog.budget.count(&m.backlog, -1, tunnel)
	}
	if c.finished {
		m.resume.Remove(c.res.ID(), resume.Done)
	}
	m.cfg.Logger.Debug("connection ended", "service", c.s.name, "stream", c.s.id, "connection", c.id, "bytes_in", c.in, "bytes_out", c.out)
	if c.watch.closed == nil {
		done()
		return
	}
	// Without the lock, and off the caller's goroutine, which may be the reader.
	go func() {
		defer done()
		c.tellClosed()
	}()
}

// refused notes that a service's target could not be reached.
func (m *mux) refused(service string, err error) {
	m.stats.refused(service)
	text := hint.Line(err)
	m.stats.failed(service, text)
	m.warn("refused "+service, "connection refused", "service", service, "error", text)
}

// warn logs msg, but not again for the same key within a while: a flood is logged once, not once each.
func (m *mux) warn(key, msg string, attrs ...any) {
	if suppressed, ok := m.notice.Allow(key, time.Now()); ok {
		if suppressed > 0 {
			attrs = append(attrs, "suppressed", suppressed)
		}
		m.cfg.Logger.Warn(msg, attrs...) //nolint:sloglint // the callers' messages are constants
	}
}
