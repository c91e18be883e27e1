package relay

import (
	"net/http"
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

// Refusal is the answer to the next Count handshakes of a target. Their tokens stay as they are.
type Refusal struct {
	Count      int
	Status     int               // 0 means 503
	Header     map[string]string // such as X-Status-Reason
	Body       string
	RetryAfter string // the header Retry-After: seconds or an HTTP date; "" sends none
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

type handshakeFault struct {
	Target
	Refusal
	ending      Ending
	subprotocol string
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

// Refuse refuses the next handshakes of t, as many as r says.
func (f *Faults) Refuse(t Target, r Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals = append(f.refusals, &handshakeFault{Target: t, Refusal: r})
}

// Limit admits a number of handshakes a second, of all targets together, and answers 429 to the others; 0 admits all.
func (f *Faults) Limit(perSecond int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.perSecond = max(0, perSecond)
}

// LoseAnswers admits the next n handshakes of t and cuts the connection instead of answering: the token is
// bound, and the peer does not know it.
func (f *Faults) LoseAnswers(t Target, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = append(f.lost, &handshakeFault{Target: t, Refusal: Refusal{Count: n}})
}

// Misname answers the next n handshakes of t with a subprotocol of this name, which the peer has not offered.
func (f *Faults) Misname(t Target, n int, subprotocol string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.misnamed = append(f.misnamed, &handshakeFault{Target: t, Refusal: Refusal{Count: n}, subprotocol: subprotocol})
}

// EndEarly ends the next n connections of t right after their handshake, before SERVICE_IDS.
func (f *Faults) EndEarly(t Target, n int, e Ending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.early = append(f.early, &handshakeFault{Target: t, Refusal: Refusal{Count: n}, ending: e})
}

// pick takes one from the first pending fault that covers t.
func (f *Faults) pick(list *[]*handshakeFault, t Target) (handshakeFault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, h := range *list {
		if h.covers(t) {
			if h.Count--; h.Count <= 0 {
				*list = slices.Delete(*list, i, i+1)
			}
			return *h, true
		}
	}
	return handshakeFault{}, false
}

// handshake plays the faults of a handshake before it is decided on; false means that it was answered.
func (f *Faults) handshake(w http.ResponseWriter, req *http.Request, t Target) bool {
	f.mu.Lock()
	c := f.apply(t, nil)
	f.mu.Unlock()
	stopped := func(wait <-chan time.Time) bool {
		select {
		case <-wait:
		case <-c.changed:
		case <-req.Context().Done():
			return true
		case <-f.relay.closing:
			refuse(w, http.StatusServiceUnavailable, "", "The service is going away.")
			return true
		}
		return false
	}
	for c.hole {
		if stopped(nil) {
			return false
		}
		f.mu.Lock()
		c = f.apply(t, nil)
		f.mu.Unlock()
	}
	if c.slow > 0 && stopped(time.After(c.slow)) {
		return false
	}
	f.mu.Lock()
	perSecond := f.perSecond
	f.mu.Unlock()
	if f.handshakes.Over(perSecond, time.Now()) {
		refuse(w, http.StatusTooManyRequests, "", "Rate exceeded")
		return false
	}
	h, found := f.pick(&f.refusals, t)
	if !found {
		return true
	}
	for k, v := range h.Header {
		w.Header().Set(k, v)
	}
	if h.RetryAfter != "" {
		w.Header().Set("Retry-After", h.RetryAfter)
	}
	if h.Status == 0 {
		h.Status = http.StatusServiceUnavailable
	}
	refuse(w, h.Status, "", h.Body)
	return false
}

// upgraderFor is how a handshake is answered.
func (f *Faults) upgraderFor(t Target, header http.Header) *websocket.Upgrader {
	h, found := f.pick(&f.misnamed, t)
	if !found {
		return &f.relay.upgrader
	}
	u := f.relay.upgrader
	u.Subprotocols = nil
	header.Set("Sec-Websocket-Protocol", h.subprotocol)
	return &u
}

// loseAnswer cuts an admitted handshake, if it is to be lost.
func (f *Faults) loseAnswer(w http.ResponseWriter, t Target) bool {
	if _, found := f.pick(&f.lost, t); !found {
		return false
	}
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = raw(c).Close()
	}
	return true
}

func (f *Faults) each(t Target, do func(*peer) bool) (n int) {
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
	f.change(func() {
		n = f.each(t, func(p *peer) bool {
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

// bucket limits a rate.
type bucket struct {
	mu   sync.Mutex
	rate float64 // bytes a second
	next time.Time
}

// burst is how much unused time a bucket saves up.
const burst = 50 * time.Millisecond

func newBucket(rate int) *bucket { return &bucket{rate: float64(rate)} }

// reserve takes n bytes and tells how long to wait before using them.
func (b *bucket) reserve(n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if earliest := now.Add(-burst); b.next.Before(earliest) {
		b.next = earliest
	}
	b.next = b.next.Add(time.Duration(float64(n) / b.rate * float64(time.Second)))
	return b.next.Sub(now)
}

func (p *peer) throttle(limits []*bucket, n int) {
	for _, b := range limits {
		p.pause(b.reserve(n))
	}
}
