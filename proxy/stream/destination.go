package stream

import (
	"context"
	"net"
	"slices"

	"github.com/culvert-iot/culvert/proxy/frame"
	"github.com/culvert-iot/culvert/proxy/resume"
)

// DestinationConfig is what a device's side needs.
type DestinationConfig struct {
	Config
	// Dial connects a service's target. Its context ends when Dial has returned, or earlier when the
	// connection has ended. It is called from a goroutine of the connection's own.
	Dial func(ctx context.Context, service string) (net.Conn, error)
	// DefaultService names the service of a stream that names none; it is given the tunnel's services.
	// It must not block.
	DefaultService func(tunnelServices []string) (string, error)
}

// Destination answers the streams that a source starts, over one websocket.
type Destination struct {
	*mux
	defaultService func([]string) (string, error)
	form           Form // of the last stream that was started
}

// NewDestination returns a Destination that is ready to Serve.
func NewDestination(cfg DestinationConfig) *Destination {
	d := &Destination{mux: newMux(cfg.Config), defaultService: cfg.DefaultService}
	d.dialFunc = cfg.Dial
	return d
}

// Serve carries streams until the websocket ends and returns why. Every connection has ended then. Call
// it once.
func (d *Destination) Serve() error { return d.serve(d.handle) }

// handle acts on one message, by the rules for destinations of the V3 guide.
func (d *Destination) handle(msg *frame.Message) error {
	if done, err := d.common(msg); done {
		return err
	}
	defer d.slowStarts()
	switch msg.Type {
	case frame.StreamStart:
		d.streamStart(msg)
	case frame.ConnectionStart:
		d.connectionStart(msg)
	default: // common has acted on all others
	}
	return nil
}

// common acts on the messages that both sides receive.
func (m *mux) common(msg *frame.Message) (done bool, err error) {
	switch msg.Type {
	case frame.SessionReset:
		m.warn("session reset", "session reset by the service: all streams end")
		m.sessionReset = true
		m.endAll()
		m.sessionReset = false
		return true, nil
	case frame.ServiceIDs:
		m.services = slices.Clone(msg.AvailableServiceIDs)
		m.cfg.Logger.Debug("tunnel services", "services", m.services)
		if m.cfg.OnServices != nil {
			m.cfg.OnServices(slices.Clone(m.services))
		}
		return true, nil
	case frame.Data, frame.StreamReset, frame.StreamStart, frame.ConnectionStart, frame.ConnectionReset:
	default:
		if msg.Ignorable {
			return true, nil
		}
		return true, &ProtocolError{"message of unknown type " + msg.Type.String()}
	}
	if msg.StreamID == 0 {
		m.warn("no stream id", "message without a stream id ignored", "type", msg.Type.String())
		return true, nil
	}
	if len(msg.ServiceID) > maxServiceID {
		m.warn("long service id", "message with an invalid service id ignored", "type", msg.Type.String())
		return true, nil
	}
	switch msg.Type {
	case frame.Data:
		m.data(msg)
	case frame.StreamReset:
		if s := m.active(msg); s != nil {
			m.endStream(s)
		}
	case frame.ConnectionReset:
		m.connectionReset(msg)
	default:
		return false, nil
	}
	return true, nil
}

// active returns the stream that msg is for, or nil: a message with another stream id than the service's
// active one is stale.
func (m *mux) active(msg *frame.Message) *stream {
	if s := m.streams[msg.ServiceID]; s != nil && s.id == msg.StreamID {
		return s
	}
	return nil
}

func (m *mux) data(msg *frame.Message) {
	var c *connection
	if s := m.active(msg); s != nil && s.form.Connection {
		c = s.conns[connectionID(msg)]
	} else if s != nil {
		c = s.conns[1]
	}
	if c == nil || c.dead {
		m.slowStrays(len(msg.Payload))
	}
	if c != nil {
		c.heard(m, msg.Payload)
	}
}

func (m *mux) connectionReset(msg *frame.Message) {
	s := m.active(msg)
	switch {
	case s == nil:
	case !s.form.Connection:
		m.unexpected(s, msg)
	default:
		if c := s.conns[connectionID(msg)]; c != nil {
			c.resetByPeer()
		}
	}
}

// unexpected ends one stream for a message that it must not see; the tunnel carries on.
func (m *mux) unexpected(s *stream, msg *frame.Message) {
	m.warn("unexpected "+s.name, "stream reset: unexpected message for its form",
		"service", s.name, "stream", s.id, "type", msg.Type.String(), "form", s.form.String())
	m.tell(s.message(frame.StreamReset, 0))
	for _, c := range s.conns {
		c.broken = true
		c.setReason(Violation)
	}
	m.endStream(s)
}

// streamStart begins a stream. An active one of the service is over, even with the same id.
func (d *Destination) streamStart(msg *frame.Message) {
	form := formOf(msg)
	form.Connection = form.Connection || msg.Type == frame.ConnectionStart
	if old := d.streams[msg.ServiceID]; old != nil {
		d.endStream(old)
	}
	// Another form means another source. Nothing may be sent in the old form any more, and no source would read it: the
	// service closes the websocket on a mixture.
	if form != d.form {
		d.endAll()
		d.control = d.control[:0]
		d.form = form
	}
	s := &stream{id: msg.StreamID, service: msg.ServiceID, form: form, name: msg.ServiceID, conns: make(map[uint32]*connection)}
	if s.name == "" {
		name, err := d.unnamed()
		if err != nil {
			d.refused("", err)
			d.tell(s.reset(connectionID(msg)))
			return
		}
		s.name = name
	}
	if len(d.streams) >= maxStreams {
		d.dropIdleStreams()
	}
	if len(d.streams) >= maxStreams || !d.mayConnect(s) {
		d.turnAway(s, connectionID(msg))
		return
	}
	// The stream may have begun on a websocket that this one replaced. Its source may have seen HELLO there, and
	// then its connections begin with a record.
	if records, _ := offers(s.id); msg.Type == frame.ConnectionStart && d.resume != nil {
		s.records = records
	}
	d.streams[s.service] = s
	d.begin(s, connectionID(msg), nil)
}

// connectionStart adds a connection to a stream. Without an active stream it counts as STREAM_START:
// sources exist that never send a second one.
func (d *Destination) connectionStart(msg *frame.Message) {
	s := d.streams[msg.ServiceID]
	switch {
	case s == nil:
		d.streamStart(msg)
		return
	case !s.form.Connection && s.id == msg.StreamID:
		d.unexpected(s, msg)
		return
	case s.id != msg.StreamID || !s.form.Connection:
		d.tell(frame.Message{Type: frame.ConnectionReset, StreamID: msg.StreamID, ServiceID: msg.ServiceID, ConnectionID: connectionID(msg)})
		return
	}
	id := connectionID(msg)
	if c := s.conns[id]; c != nil {
		d.warn("twice "+s.name, "connection reset: it was started twice", "service", s.name, "stream", s.id, "connection", id)
		c.setReason(Violation)
		c.end(draining, true)
		return
	}
	if !d.mayConnect(s) {
		d.turnAway(s, id)
		return
	}
	d.begin(s, id, nil)
}

// turnAway refuses a connection for lack of room. A source that speaks records learns why, so that it does not open the
// connection again; a source that resumes a connection will try again.
func (d *Destination) turnAway(s *stream, id uint32) {
	if _, known := offers(s.id); known && d.resume != nil && s.form.Connection {
		d.tellRecord(s, id, resume.Record{Type: resume.Gone, Reason: resume.LimitHit})
	} else { // what such a source starts may be no connection of its own, and is not counted as one
		d.stats.requested(s.name)
	}
	d.stats.refused(s.name)
	d.tell(s.reset(id))
}

func (d *Destination) unnamed() (string, error) {
	return d.defaultService(d.services)
}

// mayConnect bounds the connections of the tunnel: a flood of starts costs a flood of resets.
func (d *Destination) mayConnect(s *stream) bool {
	if len(d.conns) < maxConnections {
		return true
	}
	d.warn("too many", "connection refused: the tunnel has too many", "service", s.name, "limit", maxConnections)
	return false
}

func (d *Destination) dropIdleStreams() {
	for key, s := range d.streams {
		if len(s.conns) == 0 {
			delete(d.streams, key)
		}
	}
}
