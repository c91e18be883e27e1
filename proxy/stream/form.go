package stream

import "github.com/culvert-iot/culvert/proxy/frame"

// Form is how a peer writes the messages of a stream. It follows from the stream's first message, not
// from the websocket's subprotocol, and every answer mirrors it: a V1 peer is answered without a
// service id, a V2 peer without a connection id (V3 protocol guide, compatibility).
type Form struct {
	Service    bool // messages name the service
	Connection bool // messages name the connection
}

// The forms of the protocol's versions. A V3 peer on a tunnel without services has Connection alone.
var (
	V1 = Form{}
	V2 = Form{Service: true}
	V3 = Form{Service: true, Connection: true}
)

// String names the form for logs.
func (f Form) String() string {
	switch f {
	case V1:
		return "V1"
	case V2:
		return "V2"
	case V3:
		return "V3"
	}
	return "V3 without services"
}

func formOf(m *frame.Message) Form {
	return Form{Service: m.ServiceID != "", Connection: m.ConnectionID != 0}
}

// connectionID is the connection that a message is for: absent means 1.
func connectionID(m *frame.Message) uint32 { return max(m.ConnectionID, 1) }

// stream is one active stream: all connections of one service.
type stream struct {
	id      int32
	service string // as on the wire; "" in forms without a service
	form    Form
	name    string // the service's own name, also where the wire has none
	conns   map[uint32]*connection
	next    uint32 // source: the next connection's id
	keeps   bool   // source: the destination keeps connections whose websocket is lost
	records bool   // both ends know that the other one speaks records
}

// advance makes next the id of a new connection.
func (s *stream) advance() {
	s.next++
	for s.conns[max(s.next, 1)] != nil {
		s.next++
	}
	s.next = max(s.next, 1)
}

// message returns a message of the stream, about connection id where the form names connections; 0 is
// none.
func (s *stream) message(t frame.Type, id uint32) frame.Message {
	m := frame.Message{Type: t, StreamID: s.id, ServiceID: s.service}
	if s.form.Connection {
		m.ConnectionID = id
	}
	return m
}

// reset returns the message that tells the peer of connection id's end. In forms without connections
// the stream is the connection.
func (s *stream) reset(id uint32) frame.Message {
	if s.form.Connection {
		return s.message(frame.ConnectionReset, id)
	}
	return s.message(frame.StreamReset, 0)
}
