package session

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/proxy"
)

// Limits of the lines that the far side, or a publisher of notifications, can cause.
const (
	lineBurst     = 100 // at once
	linePace      = 10  // of connections, a second, over time
	tunnelPace    = 1   // of tunnels, likewise: people open them
	dayBurst      = 2000
	lineDayPace   = 20_000.0 / (24 * 60 * 60) // of connections, a second: 20,000 a day, some 12 MB
	tunnelDayPace = 5_000.0 / (24 * 60 * 60)
	maxNames      = 10 // of services, in one line
	summaryPeriod = 10 * time.Second
)

// journal writes the trail of what was open when, and tells the observer, if there is one. A flood gets a
// line for each period, with counts, instead of one for each event. It is safe for concurrent use.
type journal struct {
	log     *slog.Logger
	observe func(Event)

	mu       sync.Mutex
	conns    paces
	tunnels  paces
	unlogged counts // since the last summary
	summary  *time.Timer
	closed   bool
}

// counts is what happened without a line of its own.
type counts struct {
	opened, closed           uint64 // connections
	in, out                  uint64 // bytes of those that were closed
	accepted, ended, refused uint64 // tunnels
}

// paces are a limit for seconds and one for days.
type paces [2]pace

func (p *paces) allow(now time.Time) bool {
	short, long := p[0].room(now), p[1].room(now)
	if !short || !long {
		return false
	}
	p[0].used++
	p[1].used++
	return true
}

// pace lets burst lines through at once, and perSecond a second over time.
type pace struct {
	burst     float64
	perSecond float64
	used      float64
	last      time.Time
}

func (p *pace) room(now time.Time) bool {
	p.used = max(0, p.used-now.Sub(p.last).Seconds()*p.perSecond)
	p.last = now
	return p.used+1 <= p.burst
}

func newJournal(log *slog.Logger, observe func(Event)) *journal {
	return &journal{
		log: log, observe: observe,
		conns:   paces{{burst: lineBurst, perSecond: linePace}, {burst: dayBurst, perSecond: lineDayPace}},
		tunnels: paces{{burst: lineBurst, perSecond: tunnelPace}, {burst: dayBurst, perSecond: tunnelDayPace}},
	}
}

// mayLog reports whether an event may have its line. If not, count notes it for the summary.
func (j *journal) mayLog(p *paces, count func(*counts)) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if p.allow(time.Now()) {
		return true
	}
	j.note(count)
	return false
}

// skip notes an event whose beginning had no line either.
func (j *journal) skip(count func(*counts)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(count)
}

func (j *journal) note(count func(*counts)) {
	count(&j.unlogged)
	switch {
	case j.closed:
	case j.summary == nil:
		j.summary = time.AfterFunc(summaryPeriod, j.summarize)
	default:
		// It runs already, or is set for this period's end.
	}
}

// summarize logs what was counted.
func (j *journal) summarize() {
	j.mu.Lock()
	c := j.unlogged
	j.unlogged, j.summary = counts{}, nil
	j.mu.Unlock()
	if c.opened+c.closed > 0 {
		j.log.Warn("connections without lines of their own", "opened", c.opened, "closed", c.closed, "bytes_in", c.in, "bytes_out", c.out)
	}
	if c.accepted+c.ended+c.refused > 0 {
		j.log.Warn("tunnels without lines of their own", "accepted", c.accepted, "ended", c.ended, "refused", c.refused)
	}
}

// close writes the last summary.
func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	if j.summary != nil {
		j.summary.Stop()
	}
	j.mu.Unlock()
	j.summarize()
}

func (j *journal) tell(e Event) {
	if j.observe != nil {
		j.observe(e)
	}
}

// adopted is a proxy.Observer for the connections of another process.
func (j *journal) adopted(log *slog.Logger) func(proxy.Opened) func(proxy.Closed) {
	const id = "handed-over"
	a := &attempt{s: &session{id: id, log: log.With("session", id)}}
	return func(o proxy.Opened) func(proxy.Closed) { return j.connection(a, o) }
}

// connection is a proxy.Observer for the connections of one websocket. What it returns holds little, since an idle
// connection keeps it.
func (j *journal) connection(a *attempt, o proxy.Opened) func(proxy.Closed) {
	target := ""
	if t, ok := o.Target.(interface{ Target() string }); ok {
		target = t.Target()
	}
	service, stream, id := o.Service, o.Stream, o.Connection
	event := func(kind EventKind) Event {
		e := a.event(kind)
		e.Service, e.Target, e.Stream, e.Connection = service, target, stream, id
		return e
	}
	e := event(ConnectionOpened)
	logged := j.mayLog(&j.conns, func(c *counts) { c.opened++ })
	if logged {
		a.s.log.Info("connection opened", connectionFacts(e)...)
	}
	j.tell(e)
	return func(c proxy.Closed) {
		e := event(ConnectionClosed)
		e.BytesIn, e.BytesOut, e.Duration, e.Reason, e.Err = c.BytesIn, c.BytesOut, c.Duration, connectionReason(c), c.Err
		e.Resumed, e.Detached = c.Resumed, c.Detached
		if logged {
			a.s.log.Info("connection closed", append(connectionFacts(e), closingFacts(e)...)...)
		} else {
			j.skip(func(c *counts) { c.closed++; c.in += e.BytesIn; c.out += e.BytesOut })
		}
		j.tell(e)
	}
}

func connectionFacts(e Event) []any {
	return []any{"channel_id", e.ChannelID, "service", e.Service, "target", e.Target, "stream", e.Stream, "connection", e.Connection}
}

func closingFacts(e Event) []any {
	facts := []any{"bytes_in", e.BytesIn, "bytes_out", e.BytesOut, "duration", e.Duration.Round(time.Millisecond), "reason", e.Reason}
	if e.Resumed > 0 || e.Detached > 0 {
		facts = append(facts, "resumed", e.Resumed, "detached", e.Detached.Round(time.Millisecond))
	}
	if e.Err != nil && e.Reason != ReasonStopped && e.Reason != ReasonExpired { // it would say the same
		facts = append(facts, "error", e.Err)
	}
	return facts
}

// listed is a list of services for the log. A notification may have 64 of 128 characters.
func listed(names []string) []string {
	if len(names) <= maxNames {
		return names
	}
	return append(slices.Clone(names[:maxNames]), fmt.Sprintf("+%d", len(names)-maxNames))
}

// tunnelOpened and tunnelClosed are called once for each websocket.
func (j *journal) tunnelOpened(a *attempt, number int) {
	s, e := a.s, a.event(TunnelOpened)
	s.log.Info("tunnel connected", "channel_id", e.ChannelID, "region", e.Region, "services", listed(e.Services), "attempt", number,
		"delay", time.Since(s.began).Round(time.Millisecond))
	j.tell(e)
}

func (j *journal) tunnelClosed(a *attempt, final proxy.Stats, stood time.Duration, err error) {
	s, e := a.s, a.event(TunnelClosed)
	e.Duration, e.Reason, e.Err = stood, tunnelReason(err), err
	for _, v := range final.Services {
		e.Connections += v.Total
		e.BytesIn += v.BytesIn
		e.BytesOut += v.BytesOut
	}
	facts := []any{"channel_id", e.ChannelID, "region", e.Region, "services", listed(e.Services), "connections", e.Connections}
	s.log.Info("tunnel closed", append(facts, closingFacts(e)...)...)
	j.tell(e)
}
