package relay

import (
	"errors"
	"slices"
	"sync"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// link joins the two sides of one tunnel and remembers its streams. One lock guards all of it, queues
// included, so that a reset can never overtake or be overtaken by what it resets.
type link struct {
	relay  *Relay
	tunnel string

	mu         sync.Mutex
	peers      map[tunnels.Mode]*peer
	services   []string           // as of the latest handshake
	streams    map[string]*stream // the active ones, by service id as the destination sees it
	had        map[string]had     // which services ever had a stream
	sourceSeen bool

	arriving map[tunnels.Mode]int // connections between the answer to their handshake and attach
	arrival  sync.Cond
}

// stream is what a reset must name.
type stream struct {
	id      int32
	service string
}

// had records how a service's streams were started.
type had uint8

const (
	hadStream had = 1 << iota
	withConnections
)

// form reports whether a source names services in its messages.
type form uint8

const (
	formUnknown form = iota
	namesService
	namesNone
)

var errGone = errors.New("connection is over")

func newLink(r *Relay, tunnel string) *link {
	l := &link{
		relay: r, tunnel: tunnel,
		peers: map[tunnels.Mode]*peer{}, streams: map[string]*stream{}, had: map[string]had{}, arriving: map[tunnels.Mode]int{},
	}
	l.arrival.L = &l.mu
	return l
}

// expect is called before the relay answers the handshake of a side's connection. From then on the relay holds what the
// other side sends until arrived is called: with the answer, the connection's owner may tell the other side to begin.
func (l *link) expect(side tunnels.Mode) (arrived func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arriving[side]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.arriving[side]--
		l.arrival.Broadcast()
	})
}

// awaitArrivals waits until no connection of a side is between the answer to its handshake and attach.
func (l *link) awaitArrivals(side tunnels.Mode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.arriving[side] > 0 {
		l.arrival.Wait()
	}
}

func other(m tunnels.Mode) tunnels.Mode {
	if m == tunnels.Source {
		return tunnels.Destination
	}
	return tunnels.Source
}

// attach makes p its side's connection, in place of an older one. It fails when p was ended in the meantime:
// then a newer one may be there already.
func (l *link) attach(p *peer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.adm.Cause() != tunnels.NotEnded {
		p.gone = true
		return false
	}
	if old := l.peers[p.side]; old != nil {
		l.remove(old)
	}
	l.peers[p.side] = p
	l.services = p.adm.Services
	l.sourceSeen = l.sourceSeen || p.side == tunnels.Source
	// A reader of the state may send at once, which waits for the lock. A reader of the first message may ask for the
	// state.
	p.adm.Connected()
	if p.version >= 2 {
		l.send(p, &frame.Message{Type: frame.ServiceIDs, AvailableServiceIDs: p.adm.Services})
	}
	return true
}

// detach takes p out, if it is still in.
func (l *link) detach(p *peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers[p.side] == p {
		l.remove(p)
		delete(l.peers, p.side)
	}
	p.gone = true
	p.out.wake()
}

// remove ends the streams that ran over p and tells the other side.
func (l *link) remove(p *peer) {
	p.gone = true
	p.out.wake()
	if o := l.peers[other(p.side)]; o != nil {
		o.out.wake() // p may wait for room there
		for _, s := range l.streams {
			l.send(o, l.reset(o, s.service, s.id))
		}
	}
	clear(l.streams)
}

// reset makes a STREAM_RESET in the form that o speaks.
func (l *link) reset(o *peer, service string, id int32) *frame.Message {
	if o.form == namesNone {
		service = ""
	}
	return &frame.Message{Type: frame.StreamReset, StreamID: id, ServiceID: service}
}

// send queues a message of the service itself.
func (l *link) send(p *peer, m *frame.Message) {
	l.observe("", p.side, m)
	b, err := m.AppendFrame(nil)
	if err != nil { // only an injected message or an endless list of services can be so long
		l.relay.cfg.Logger.Warn("message not sent", "session", l.tunnel, "error", err)
		return
	}
	p.out.push(b, p.conditions.Load().delay)
}

func (l *link) observe(from, to tunnels.Mode, m *frame.Message) {
	if f := l.relay.cfg.Observe; f != nil {
		f(Event{Tunnel: l.tunnel, From: from, To: to, Message: m})
	}
}

// deliver validates and forwards the whole frames that data begins with and returns how many bytes they were. It
// waits while the other side's queue is full. Its error is a *Violation or errGone.
func (l *link) deliver(p *peer, data []byte) (taken int, err error) {
	if nextFrame(data) == nil {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		raw := nextFrame(data[taken:])
		if raw == nil {
			return taken, nil
		}
		// Room first: nothing may happen between judging a message and forwarding it.
		for {
			o := l.peers[other(p.side)]
			if p.gone {
				return taken, errGone
			}
			if o == nil && l.arriving[other(p.side)] > 0 {
				l.arrival.Wait()
				continue
			}
			if o == nil || !o.out.full(l.relay.cfg.Buffer/2) {
				break
			}
			o.out.room.Wait()
		}
		m := &p.in
		v := decode(raw, m)
		if v == nil {
			v = l.validate(p, m)
		}
		if v != nil {
			v.Tunnel, v.Side = l.tunnel, p.side
			if v.Ended {
				return taken, v
			}
			l.relay.record(*v)
		}
		l.forward(p, m, raw)
		taken += len(raw)
	}
}

// key is the service id under which the link knows the streams of p's messages.
func (l *link) key(p *peer, service string) string {
	if p.side == tunnels.Source && service == "" && l.adds() {
		return l.services[0]
	}
	return service
}

func (l *link) adds() bool { return l.relay.cfg.AddServiceToV1 && len(l.services) == 1 }

// forward keeps the books and queues the frame for the other side.
func (l *link) forward(p *peer, m *frame.Message, raw []byte) {
	o := l.peers[other(p.side)]
	key := l.key(p, m.ServiceID)
	l.track(key, m)
	if o == nil {
		// Routing broke: nothing answers.
		l.observe(p.side, "", m)
		delete(l.streams, key)
		if m.Type == frame.StreamStart || m.Type == frame.ConnectionStart {
			l.send(p, l.reset(p, m.ServiceID, m.StreamID))
		}
		return
	}
	if p.side == tunnels.Destination && m.Type.Known() && o.form != formUnknown && !l.adds() &&
		(m.ServiceID == "") != (o.form == namesNone) {
		l.observe(p.side, "", m) // meant for a source that is gone
		return
	}
	altered := m.Type.Known()
	switch {
	case !altered:
	case p.side == tunnels.Source && key != m.ServiceID && o.version >= 2:
		m.ServiceID = key
	case p.side == tunnels.Destination && l.adds() && o.form == namesNone && m.ServiceID != "":
		m.ServiceID = ""
	default:
		altered = false
	}
	if l.relay.cfg.DropsEmptyData && m.Type == frame.Data && len(m.Payload) == 0 {
		l.observe(p.side, "", m)
		return
	}
	l.observe(p.side, o.side, m)
	if altered {
		if b, err := m.AppendFrame(nil); err == nil {
			raw = b
		}
	}
	delay := p.conditions.Load().delay + o.conditions.Load().delay
	if l.relay.cfg.MixesConnections && delay == 0 {
		o.out.pushMixed(raw, connectionOf(m))
		return
	}
	o.out.push(raw, delay)
}

// track follows the life of streams. A CONNECTION_START without a stream counts as STREAM_START.
func (l *link) track(service string, m *frame.Message) {
	s := l.streams[service]
	switch {
	case m.Type == frame.StreamStart, m.Type == frame.ConnectionStart && s == nil:
		l.streams[service] = &stream{id: m.StreamID, service: service}
		l.started(service, m)
	case m.Type == frame.StreamReset && s != nil && s.id == m.StreamID:
		delete(l.streams, service)
	}
}

func (l *link) started(service string, m *frame.Message) {
	l.had[service] |= hadStream
	if m.ConnectionID != 0 || m.Type == frame.ConnectionStart {
		l.had[service] |= withConnections
	}
}

// inject queues a message for p as if the service had forwarded it. What it starts may be answered.
func (l *link) inject(p *peer, m *frame.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers[p.side] != p {
		return false
	}
	if m.Type == frame.StreamStart || m.Type == frame.ConnectionStart {
		l.started(m.ServiceID, m)
		if m.ServiceID != "" && !slices.Contains(l.services, m.ServiceID) {
			l.services = append(slices.Clone(l.services), m.ServiceID)
		}
	}
	l.send(p, m)
	return true
}
