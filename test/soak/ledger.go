package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// ledger is the judge of the whole run: it knows of each connection what both sides saw, of each tunnel when a
// fault excused the loss of connections, and it keeps what happened lately.
type ledger struct {
	start time.Time
	out   io.Writer // gets violations at once; nil: nothing does

	mu         sync.Mutex
	conns      map[uint64]*conversation
	calm       []*calm           // by tunnel
	outages    map[string][]span // of targets, by service
	deaths     []span            // in which the daemon is not there, or was not
	resumes    []bool            // by tunnel: its connections outlive whatever happens to it
	events     []string
	violations []string
	tally      tally
	failed     chan struct{} // closed by the first violation
}

// tally is what the summary shows.
type tally struct {
	operations [kinds]int
	cut        int // connections that a fault ended early
	between    int // connections between two Culverts
	ended      int // of these, those that the daemon's or the target's end has ended
	unmade     int // connections that could not be begun
	bytes      int64
	faults     map[string]int
	back       []time.Duration
}

// conversation is one connection as both sides saw it.
type conversation struct {
	talk
	tunnel         int
	service        string
	opened         time.Time
	judged         bool
	client, target outcome
}

// outcome is one side's.
type outcome struct {
	begun bool
	ended time.Time
	got   int64
	err   error
}

// calm tells when a tunnel's connections could be counted on.
type calm struct {
	since  time.Time // when it was last shown to work; zero while a fault may be felt
	until  []span    // earlier times of calm are over; what lies between them is a fault's time
	firing int       // faults that are about to be felt
	heal   time.Time // when the last thing stood in the way of the tunnel's return
	reason string
}

// span is a time in which faults excuse.
type span struct{ from, to time.Time }

const (
	keptEvents = 60
	keptSpans  = 200
)

func newLedger(tunnels int, out io.Writer) *ledger {
	l := &ledger{start: time.Now(), out: out, conns: map[uint64]*conversation{}, outages: map[string][]span{}, failed: make(chan struct{})}
	l.tally.faults = map[string]int{}
	for range tunnels {
		l.calm = append(l.calm, &calm{until: []span{{from: l.start}}, heal: l.start, reason: "start"})
	}
	return l
}

// note keeps an event for the case of a violation.
func (l *ledger) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked(format, args...)
}

func (l *ledger) noteLocked(format string, args ...any) {
	l.events = append(l.events, fmt.Sprintf("%8.3f s  ", time.Since(l.start).Seconds())+fmt.Sprintf(format, args...))
	if n := len(l.events) - keptEvents; n > 0 {
		l.events = l.events[n:]
	}
}

// violated records what must not be.
func (l *ledger) violated(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violatedLocked(format, args...)
}

func (l *ledger) violatedLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.noteLocked("VIOLATION: %s", text)
	if len(l.violations) == 0 {
		close(l.failed)
	}
	if len(l.violations) < 20 {
		l.violations = append(l.violations, text)
		if l.out != nil {
			_, _ = fmt.Fprintf(l.out, "VIOLATION after %.1f s: %s\n", time.Since(l.start).Seconds(), text)
		}
	}
}

// disturb is called before a fault that may cost a tunnel its connections, and what it returns when the fault has
// fired: nothing that stands in the way is left of it then.
func (l *ledger) disturb(tunnel int, reason string) (fired func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.calm[tunnel]
	if !c.since.IsZero() {
		c.since = time.Time{}
		c.until = append(c.until, span{from: time.Now()})
		if n := len(c.until) - keptSpans; n > 0 {
			c.until = c.until[n:]
		}
	}
	c.firing++
	c.heal, c.reason = time.Now(), reason
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.firing--
		c.heal = time.Now()
	}
}

// healed is called when something that kept a tunnel from its return is over.
func (l *ledger) healed(tunnel int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.calm[tunnel]; c.since.IsZero() {
		c.heal = time.Now()
	}
}

// disturbed reports whether a fault may be felt, and since when nothing should stand in the way any more.
func (l *ledger) disturbed(tunnel int) (heal time.Time, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.calm[tunnel]
	return c.heal, c.since.IsZero()
}

// isFiring reports whether a fault is about to be felt: nothing that is seen now counts.
func (l *ledger) isFiring(tunnel int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calm[tunnel].firing > 0
}

// settled is called when a tunnel was shown to work by what began at a time: not if it was disturbed since. Its
// destination has been connected since another.
func (l *ledger) settled(tunnel int, began, connected time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.calm[tunnel]
	if !c.since.IsZero() || c.firing > 0 || !began.After(c.heal) {
		return false
	}
	c.since = time.Now()
	c.until[len(c.until)-1].to = c.since
	if connected.After(c.heal) && c.heal != l.start {
		l.tally.back = append(l.tally.back, connected.Sub(c.heal))
	}
	l.noteLocked("tunnel %d works again, %v after: %s", tunnel, c.since.Sub(c.heal).Round(time.Millisecond), c.reason)
	return true
}

// excused reports whether a fault was felt on a tunnel at any moment of a time.
func (c *calm) excused(from, to time.Time) bool {
	return meets(c.until, from, to) || len(c.until) == keptSpans && from.Before(c.until[0].from) // forgotten
}

func meets(list []span, from, to time.Time) bool {
	for _, s := range list {
		if !s.from.After(to) && (s.to.IsZero() || !s.to.Before(from)) {
			return true
		}
	}
	return false
}

// outage is called before a service's target goes away, and again when it is back.
func (l *ledger) outage(service string, down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.outages[service]
	if down {
		l.outages[service] = append(list, span{from: time.Now()})
	} else {
		list[len(list)-1].to = time.Now()
	}
}

// begin enters a connection. The client is about to open it.
func (l *ledger) begin(tunnel int, service string, t talk) *conversation {
	c := &conversation{talk: t, tunnel: tunnel, service: service, opened: time.Now()}
	c.client.begun = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[t.id] = c
	return c
}

// unmade takes a connection out that could not be opened.
func (l *ledger) unmade(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, id)
	l.tally.unmade++
}

// accepted enters the target's side of a connection by what the header says.
func (l *ledger) accepted(t talk) (*conversation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.conns[t.id]
	switch {
	case c == nil:
		return nil, fmt.Errorf("connection %x reached a target, and no client opened it or it is long over", t.id)
	case c.target.begun:
		return nil, fmt.Errorf("connection %x reached its target twice", t.id)
	case c.talk != t:
		return nil, fmt.Errorf("connection %x has another header at the target: %+v, sent was %+v", t.id, t, c.talk)
	}
	c.target.begun = true
	return c, nil
}

func (l *ledger) count(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.bytes += n
}

// ended enters how a side saw the connection end, and judges it once both have.
func (l *ledger) ended(c *conversation, target bool, got int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, who := &c.client, "client"
	if target {
		o, who = &c.target, "target"
	}
	o.ended, o.got, o.err = time.Now(), got, err
	if isFinding(err) {
		l.violatedLocked("%s of tunnel %d, %s side: %v (%d bytes were right)", c, c.tunnel, who, err, got)
	}
	now := time.Now()
	switch {
	case c.client.ended.IsZero(), c.target.begun && c.target.ended.IsZero(): // the other side is to come
	case !c.target.begun && c.client.err == nil && !l.excuses(c, now): // likewise
	default:
		l.judge(c, now)
	}
}

// excuses reports whether a connection may have ended early by a time. Between two Culverts only the end of the
// daemon, or of the target, may end a connection.
func (l *ledger) excuses(c *conversation, by time.Time) bool {
	switch {
	case c.kind.mayBeShort(), meets(l.outages[c.service], c.opened, by):
		return true
	case l.resumes != nil && l.resumes[c.tunnel]:
		return meets(l.deaths, c.opened, by)
	}
	return l.calm[c.tunnel].excused(c.opened, by)
}

// dies is called before the daemon ends, and what it returns once it is there again and knows its tunnels.
func (l *ledger) dies() (back func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaths = append(l.deaths, span{from: time.Now()})
	n := len(l.deaths) - 1
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.deaths[n].to = time.Now()
	}
}

func (c *conversation) String() string {
	return fmt.Sprintf("connection %x (%v to %s, %d bytes up, %d down)", c.id, c.kind, c.service, c.up, c.down)
}

// judge decides on a connection that has ended for the sides that it had. One whose target comes to know of it only
// later, from what was still on its way, is judged then, once more.
func (l *ledger) judge(c *conversation, by time.Time) {
	first := !c.judged
	c.judged = true
	if first {
		l.tally.operations[c.kind]++
		if l.resumes != nil && l.resumes[c.tunnel] {
			l.tally.between++
		}
	}
	if c.target.begun {
		delete(l.conns, c.id)
	}
	complete := c.client.err == nil && c.target.begun && c.target.err == nil
	switch {
	case complete, isFinding(c.client.err), isFinding(c.target.err):
	case l.excuses(c, by):
		if first && !c.kind.mayBeShort() {
			l.tally.cut++
			if l.resumes != nil && l.resumes[c.tunnel] {
				l.tally.ended++
			}
		}
	default:
		l.violatedLocked("%s of tunnel %d ended early though no fault was felt: the client got %d of %d bytes (%v), the target %d of %d (%v, begun: %v), after %v",
			c, c.tunnel, c.client.got, c.down, c.client.err, c.target.got, c.up, c.target.err, c.target.begun,
			by.Sub(c.opened).Round(time.Millisecond))
	}
}

// lingering returns the connections that one side at least has not ended by a time.
func (l *ledger) lingering() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		if c.client.ended.IsZero() || c.target.begun && c.target.ended.IsZero() || c.expectsTarget() && !l.excuses(c, time.Now()) {
			list = append(list, c.String())
		}
	}
	return list
}

// expectsTarget reports whether all that is known of a connection is the client's content.
func (c *conversation) expectsTarget() bool {
	return !c.client.ended.IsZero() && c.client.err == nil && !c.target.begun && !c.judged
}

// sweep judges the connections whose targets should know of them since a time, and forgets those whose never will.
func (l *ledger) sweep(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, c := range l.conns {
		if c.client.ended.IsZero() || c.target.begun || c.client.ended.After(since) {
			continue
		}
		if c.expectsTarget() {
			l.judge(c, time.Now())
		}
		delete(l.conns, id)
	}
}

func (l *ledger) hasFailed() bool {
	select {
	case <-l.failed:
		return true
	default:
		return false
	}
}
