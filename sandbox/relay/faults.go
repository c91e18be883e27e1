package relay

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/rate"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// Target says which connections a fault is for. The zero value means all; each field that is set narrows it.
type Target struct {
	Tunnel string       `json:"tunnel,omitempty"` // id
	Side   tunnels.Mode `json:"side,omitempty"`
}

// covers reports whether t includes the connections of u.
func (t Target) covers(u Target) bool {
	return (t.Tunnel == "" || t.Tunnel == u.Tunnel) && (t.Side == "" || t.Side == u.Side)
}

// Conditions are faults that last. The zero value is a good network. They hold for connections that stand and
// for later ones.
type Conditions struct {
	// BlackHole lets nothing pass, not even the end of a connection, and new handshakes hang. What is on its way
	// waits, as it does in the buffers of a network that is down; the relay drops the connection after its
	// idle time, without a word to the peer.
	BlackHole bool
	// Delay is added each way: a message from one connection that has it to another is late by twice as much.
	Delay time.Duration
	// RateLimit is in bytes a second, each way, for every connection by itself; 0 is none. AWS's own is 800,000.
	RateLimit int
	// RateShared makes all connections of the target share one RateLimit, both ways together, counted where
	// bytes come in.
	RateShared bool
	// WithholdPongs leaves pings unanswered.
	WithholdPongs bool
	// SlowHandshake is waited before a handshake is answered.
	SlowHandshake time.Duration
}

// Faults makes things go wrong. It is safe for concurrent use; a method that acts on connections returns how
// many it met.
type Faults struct {
	relay *Relay

	mu      sync.Mutex
	changed chan struct{} // closed at each change of the rules
	rules   []*rule
	// Pending, for the next handshakes.
	refusals, lost, misnamed, early []*handshakeFault
	perSecond                       int          // handshakes; 0: no limit
	handshakes                      rate.Limiter // with perSecond
}

type rule struct {
	Target
	Conditions
	shared *bucket
}

// conditions are what holds for one connection.
type conditions struct {
	hole, withholdPongs bool
	delay, slow         time.Duration
	in, out             []*bucket
	changed             <-chan struct{}
}

func newFaults(r *Relay) *Faults { return &Faults{relay: r, changed: make(chan struct{})} }

// Set makes c the conditions of t, in place of those that were set for the same target before. Where several
// targets cover a connection, the worse of each condition holds.
func (f *Faults) Set(t Target, c Conditions) {
	f.change(func() {
		f.rules = slices.DeleteFunc(f.rules, func(r *rule) bool { return r.Target == t })
		if c != (Conditions{}) {
			n := &rule{Target: t, Conditions: c}
			if c.RateShared && c.RateLimit > 0 {
				n.shared = newBucket(c.RateLimit)
			}
			f.rules = append(f.rules, n)
		}
	})
}

// Clear takes back all conditions and all pending handshake faults. Stranded connections stay so.
func (f *Faults) Clear() {
	f.change(func() { f.rules, f.refusals, f.lost, f.misnamed, f.early, f.perSecond = nil, nil, nil, nil, nil, 0 })
}

func (f *Faults) change(edit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit()
	old := f.changed
	f.changed = make(chan struct{})
	for _, p := range f.relay.matching(Target{}) {
		p.conditions.Store(f.apply(p.target(), p.conditions.Load()))
	}
	close(old)
}

// apply works out what holds for a connection; before is nil for a new one.
func (f *Faults) apply(t Target, before *conditions) *conditions {
	c := &conditions{changed: f.changed}
	if before != nil && before.changed == nil {
		return before // stranded
	}
	for _, r := range f.rules {
		if !r.covers(t) {
			continue
		}
		c.hole = c.hole || r.BlackHole
		c.withholdPongs = c.withholdPongs || r.WithholdPongs
		c.delay = max(c.delay, r.Delay)
		c.slow = max(c.slow, r.SlowHandshake)
		if r.shared != nil {
			c.in = append(c.in, r.shared)
		} else if r.RateLimit > 0 {
			c.in = append(c.in, newBucket(r.RateLimit))
			c.out = append(c.out, newBucket(r.RateLimit))
		}
	}
	return c
}

// enter makes a connection known to the faults.
func (f *Faults) enter(p *peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.conditions.Store(f.apply(p.target(), nil))
	f.relay.mu.Lock()
	defer f.relay.mu.Unlock()
	f.relay.live[p] = struct{}{}
}

func (f *Faults) leave(p *peer) {
	f.relay.mu.Lock()
	defer f.relay.mu.Unlock()
	delete(f.relay.live, p)
}

func (p *peer) target() Target { return Target{Tunnel: p.link.tunnel, Side: p.side} }

// matching returns the connections of a target.
func (r *Relay) matching(t Target) (list []*peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.live {
		if t.covers(p.target()) {
			list = append(list, p)
		}
	}
	return list
}

// awaitArrivals waits for the connections of a target whose handshake is just being answered: a client that has the answer
// may count on the next fault to meet it.
func (r *Relay) awaitArrivals(t Target) {
	r.mu.Lock()
	links := slices.Collect(maps.Values(r.links))
	r.mu.Unlock()
	for _, l := range links {
		for _, side := range []tunnels.Mode{tunnels.Source, tunnels.Destination} {
			if t.covers(Target{Tunnel: l.tunnel, Side: side}) {
				l.awaitArrivals(side)
			}
		}
	}
}

func (f *Faults) each(t Target, do func(*peer) bool) (n int) {
	f.relay.awaitArrivals(t)
	return f.eachNow(t, do)
}

func (f *Faults) eachNow(t Target, do func(*peer) bool) (n int) {
	for _, p := range f.relay.matching(t) {
		if do(p) {
			n++
		}
	}
	return n
}

// Cut ends connections by a TCP reset.
func (f *Faults) Cut(t Target) int {
	return f.each(t, func(p *peer) bool { return p.finish(ending{reset: true, why: "cut"}) })
}

// DropAll cuts every connection.
func (f *Faults) DropAll() int { return f.Cut(Target{}) }

// CloseWith ends connections with a close frame; code 0 sends one without a code.
func (f *Faults) CloseWith(t Target, code int, reason string) int {
	return f.each(t, func(p *peer) bool {
		return p.finish(ending{Ending: Ending{Code: code, Reason: reason}, why: "told to"})
	})
}

// Strand leaves the connections that stand now in a black hole for good, while new ones work: half-open links.
func (f *Faults) Strand(t Target) int {
	n := 0
	f.relay.awaitArrivals(t)
	f.change(func() {
		n = f.eachNow(t, func(p *peer) bool {
			p.conditions.Store(&conditions{hole: true})
			return true
		})
	})
	return n
}

// SendRaw sends a websocket message with these bytes, of type text or binary, between two batches of frames:
// to break the protocol. It waits while the peer does not read.
func (f *Faults) SendRaw(t Target, text bool, data []byte) int {
	kind := websocket.BinaryMessage
	if text {
		kind = websocket.TextMessage
	}
	return f.each(t, func(p *peer) bool {
		p.writing.Lock()
		defer p.writing.Unlock()
		return p.ws.WriteMessage(kind, data) == nil
	})
}

// Ping sends a websocket ping.
func (f *Faults) Ping(t Target, payload string) int {
	return f.each(t, func(p *peer) bool {
		return p.ws.WriteControl(websocket.PingMessage, []byte(payload), time.Now().Add(linger)) == nil
	})
}

// Pong sends an unsolicited websocket pong.
func (f *Faults) Pong(t Target, payload string) int {
	return f.each(t, func(p *peer) bool {
		return p.ws.WriteControl(websocket.PongMessage, []byte(payload), time.Now().Add(linger)) == nil
	})
}

// SendMessage sends a message of the service's own, whatever the rules say. A stream that it starts may be
// answered.
func (f *Faults) SendMessage(t Target, m frame.Message) int {
	return f.each(t, func(p *peer) bool { return p.link.inject(p, &m) })
}
