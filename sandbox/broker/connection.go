package broker

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Reasons of a disconnection (AWS IoT developer guide, lifecycle events).
const (
	ReasonAuth      = "AUTH_ERROR"
	ReasonClient    = "CLIENT_INITIATED_DISCONNECT"
	ReasonError     = "CLIENT_ERROR"
	ReasonLost      = "CONNECTION_LOST"
	ReasonDuplicate = "DUPLICATE_CLIENTID"
	ReasonKeepAlive = "MQTT_KEEP_ALIVE_TIMEOUT"
	ReasonServer    = "SERVER_INITIATED_DISCONNECT"
	ReasonAPI       = "API_INITIATED_DISCONNECT"
)

// Connection is what the broker knows of a client id's connection, or of its last one.
type Connection struct {
	Thing             string
	Connected         bool
	CleanSession      bool
	KeepAlive         time.Duration
	SessionExpiry     time.Duration
	ConnectedSince    time.Time
	DisconnectedSince time.Time // zero while connected
	DisconnectReason  string    // one of the Reason constants; "" while connected
	Source, Target    net.Addr
}

// Connection returns the connection of a client id. It reports false for one that never connected.
func (b *Broker) Connection(clientID string) (Connection, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.records[clientID]
	return c, ok
}

// connected records a connection that is about to get its CONNACK.
func (b *Broker) connected(c *conn, cl *mqtt.Client) {
	r := Connection{
		Thing: c.thing, Connected: true, CleanSession: cl.Properties.Clean,
		KeepAlive:      time.Duration(cl.State.Keepalive) * time.Second,
		ConnectedSince: time.Now(), Source: c.RemoteAddr(), Target: c.LocalAddr(),
	}
	switch {
	case cl.Properties.ProtocolVersion == 5:
		r.SessionExpiry = min(time.Duration(cl.Properties.Props.SessionExpiryInterval)*time.Second, b.cfg.SessionExpiry)
	case !cl.Properties.Clean:
		r.SessionExpiry = b.cfg.SessionExpiry
	}
	c.client = cl
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records[cl.ID] = r
}

// disconnected records the end of a connection that was recorded by connected.
func (b *Broker) disconnected(c *conn) {
	if c.client == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.records[c.client.ID]
	r.Connected, r.DisconnectedSince, r.DisconnectReason = false, time.Now(), c.endReason()
	b.records[c.client.ID] = r
}

func (c *conn) endReason() string {
	cause := c.client.StopCause()
	switch {
	case c.refused != nil && strings.HasPrefix(c.refused.Error(), deniedPrefix):
		return ReasonAuth
	case c.refused != nil:
		return ReasonError
	case errors.Is(cause, packets.CodeDisconnect):
		return ReasonClient
	case errors.Is(cause, packets.ErrSessionTakenOver):
		return ReasonDuplicate
	case errors.Is(cause, errKicked):
		return ReasonServer
	case errors.Is(cause, errDeleted):
		return ReasonAPI
	case errors.Is(cause, os.ErrDeadlineExceeded):
		return ReasonKeepAlive
	}
	return ReasonLost
}

// Subscription is a topic filter and its QoS.
type Subscription struct {
	Filter string
	QoS    byte
}

// Subscriptions lists the subscriptions of a client that is connected or has a session, by filter. It
// reports false for any other client.
func (b *Broker) Subscriptions(clientID string) ([]Subscription, bool) {
	cl, ok := b.server.Clients.Get(clientID)
	if !ok || cl.Net.Inline {
		return nil, false
	}
	list := []Subscription{}
	for filter, s := range cl.State.Subscriptions.GetAll() {
		list = append(list, Subscription{filter, s.Qos})
	}
	slices.SortFunc(list, func(a, b Subscription) int { return strings.Compare(a.Filter, b.Filter) })
	return list, true
}

// Disconnect ends a client's connection, and with clean its session. It reports whether the client
// had either.
func (b *Broker) Disconnect(clientID string, clean bool) bool {
	cl, ok := b.server.Clients.Get(clientID)
	if !ok || cl.Net.Inline {
		return false
	}
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return false
	}
	was := !cl.Closed()
	cl.Stop(errDeleted)
	<-c.done
	if clean {
		b.server.UnsubscribeClient(cl)
		cl.ClearInflights()
		b.server.Clients.Delete(clientID)
	}
	return was || clean
}

var errDeleted = errors.New("disconnected by the API")

// DirectMessage is a message to one client.
type DirectMessage struct {
	Topic   string
	Payload []byte
	Confirm bool // QoS 1, and wait for the client's PUBACK

	ResponseTopic, ContentType string // for MQTT 5 clients only
}

// Errors of [Broker.SendDirect].
var (
	ErrNotConnected = errors.New("the client is not connected")
	ErrUnconfirmed  = errors.New("the client did not confirm the message in time")
)

// SendDirect sends a message to one client, whether or not it subscribed to the topic. The client's
// policy must allow iot:Receive; a message that it does not allow vanishes, so that only a
// confirmation shows it. With Confirm, SendDirect waits for PUBACK until ctx ends.
func (b *Broker) SendDirect(ctx context.Context, clientID string, m DirectMessage) error {
	cl, ok := b.server.Clients.Get(clientID)
	if !ok || cl.Closed() {
		return ErrNotConnected
	}
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return ErrNotConnected
	}
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: m.Topic, Payload: m.Payload,
		Properties: packets.Properties{ResponseTopic: m.ResponseTopic, ContentType: m.ContentType},
	}
	acknowledged := make(chan struct{})
	if m.Confirm {
		// No session keeps the message, hence no entry among mochi's messages in flight.
		id, err := cl.NextPacketID()
		if err != nil {
			return err
		}
		pk.FixedHeader.Qos, pk.PacketID = 1, uint16(id) //nolint:gosec // at most 65,535
		c.acks.Store(pk.PacketID, acknowledged)
		defer c.acks.Delete(pk.PacketID)
	}
	written := make(chan error, 1)
	if b.mayReceiveDirect(cl, c, m.Topic) {
		go func() { written <- cl.WritePacket(pk) }() // ends with the connection at the latest
	} else {
		written <- nil
	}
	select {
	case err := <-written:
		if err != nil {
			return ErrNotConnected
		}
	case <-ctx.Done():
		return ErrUnconfirmed
	}
	if !m.Confirm {
		return nil
	}
	select {
	case <-acknowledged:
		return nil
	case <-c.done:
	case <-ctx.Done():
	}
	return ErrUnconfirmed
}

func (b *Broker) mayReceiveDirect(cl *mqtt.Client, c *conn, topic string) bool {
	if _, behaviour := b.rules(c); behaviour.DirectByThingName && cl.ID != c.thing {
		b.log.Warn("mqtt message not delivered", "thing", c.thing, "client_id", cl.ID, "reason", "the client id is not the thing's name")
		return false
	}
	return b.mayReceive(cl, topic)
}

// acknowledged wakes who waits for a direct message's PUBACK.
func (c *conn) acknowledged(id uint16) {
	if ch, ok := c.acks.LoadAndDelete(id); ok {
		close(ch.(chan struct{})) //nolint:forcetypeassert // nothing else is stored
	}
}
