package broker

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Limits of AWS IoT's message broker (AWS IoT developer guide, protocol and limits pages).
const (
	minKeepAlive  = 30   // seconds; less counts as this
	maxKeepAlive  = 1200 // more, and 0, counts as this
	maxClientID   = 128  // bytes
	maxTopic      = 256  // bytes
	maxPayload    = 128 << 10
	maxFilters    = 8  // in one SUBSCRIBE
	maxSubscribed = 50 // on one connection
)

// rules hangs AWS IoT's rules into mochi. To drop a connection from within a packet, it answers ErrRejectPacket, at
// which mochi ends its read loop.
type rules struct {
	mqtt.HookBase
	b *Broker
}

func (*rules) ID() string { return "aws-iot-rules" }

func (*rules) Provides(hook byte) bool {
	return slices.Contains([]byte{
		mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished, mqtt.OnDisconnect,
		mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnACLCheck, mqtt.OnClientExpired,
	}, hook)
}

// OnConnect checks a CONNECT. An error drops the connection.
func (h *rules) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return errors.New("no connection of this broker")
	}
	switch k := pk.Connect.Keepalive; {
	case k == 0 || k > maxKeepAlive:
		cl.State.Keepalive = maxKeepAlive
	case k < minKeepAlive:
		cl.State.Keepalive = minKeepAlive
	}
	cl.State.ServerKeepalive = cl.State.Keepalive != pk.Connect.Keepalive // tells an MQTT 5 client
	id := pk.Connect.ClientIdentifier
	policy, behaviour := h.b.rules(c)
	reason := ""
	switch {
	case h.b.connects.Over(behaviour.ConnectLimit, time.Now()):
		return errors.New("too many CONNECTs in this second")
	case id == "" || len(id) > maxClientID:
		reason = fmt.Sprintf("the client id must have 1 to %d bytes", maxClientID)
	case !policy.allows(actionConnect, "client/"+id, principal{c.thing, id}):
		reason = denied(actionConnect, "client/"+id)
	case pk.Connect.WillFlag:
		reason = h.mayPublish(c, id, pk.Connect.WillTopic, pk.Connect.WillRetain)
		if reason == "" && pk.Connect.WillRetain {
			reason = "the sandbox keeps no retained last wills"
		}
	}
	if reason == "" {
		return nil
	}
	h.b.log.Warn("mqtt connection refused", "thing", c.thing, "client_id", id, "reason", reason)
	if code := behaviour.ConnackCode; code != 0 {
		ack := []byte{0x20, 2, 0, code}
		if cl.Properties.ProtocolVersion == 5 {
			ack = []byte{0x20, 3, 0, packets.ErrNotAuthorized.Code, 0}
		}
		_, _ = c.Write(ack)
	}
	return errors.New(reason)
}

const deniedPrefix = "the policy does not allow "

func denied(action, resource string) string {
	return fmt.Sprintf(deniedPrefix+"%s on %s", action, resource)
}

// OnConnectAuthenticate has nothing to add to the certificate: user name and password are ignored.
func (*rules) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnSessionEstablish drops the older connection of the same client id, and waits until mochi has let go of it:
// otherwise the old one's cleaning up may remove the new one. The lock taken here ends with CONNACK or the connection.
func (h *rules) OnSessionEstablish(cl *mqtt.Client, _ packets.Packet) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return
	}
	h.b.establish.Lock()
	c.holds = true
	defer h.b.connected(c, cl)
	old, ok := h.b.server.Clients.Get(cl.ID)
	if !ok {
		return
	}
	if oc, ok := old.Net.Conn.(*conn); ok {
		if !old.Closed() {
			h.b.log.Info("mqtt client replaced by a new connection of the same client id", "thing", oc.thing, "client_id", cl.ID)
		}
		old.Stop(packets.ErrSessionTakenOver)
		<-oc.done
	}
}

// leave gives back the lock of a connection that died while it took its session over.
func (b *Broker) leave(c *conn) {
	if c.holds {
		c.holds = false
		b.establish.Unlock()
	}
}

// OnSessionEstablished logs.
func (h *rules) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if c, ok := cl.Net.Conn.(*conn); ok {
		h.b.log.Info("mqtt client connected", "thing", c.thing, "client_id", cl.ID)
	}
}

// OnDisconnect logs.
func (h *rules) OnDisconnect(cl *mqtt.Client, _ error, _ bool) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return
	}
	reason := c.refused
	if reason == nil {
		reason = cl.StopCause()
	}
	if errors.Is(reason, net.ErrClosed) {
		reason = errOutage
	}
	h.b.log.Info("mqtt client disconnected", "thing", c.thing, "client_id", cl.ID, "reason", reason)
}

var errOutage = errors.New("outage")

// OnPacketEncode lets the next client in, and clears DUP: AWS IoT may send a message again without it.
func (h *rules) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	switch pk.FixedHeader.Type {
	case packets.Connack:
		if c, ok := cl.Net.Conn.(*conn); ok {
			h.b.leave(c)
		}
	case packets.Publish:
		pk.FixedHeader.Dup = false
	}
	return pk
}

// OnPacketRead checks PUBLISH and SUBSCRIBE before mochi sees them.
func (h *rules) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return pk, nil
	}
	reason, qos := "", byte(0)
	switch pk.FixedHeader.Type {
	case packets.Publish:
		qos = pk.FixedHeader.Qos
		reason = h.mayPublish(c, cl.ID, pk.TopicName, pk.FixedHeader.Retain)
		if reason == "" && len(pk.Payload) > maxPayload {
			reason = fmt.Sprintf("a payload of more than %d bytes", maxPayload)
		}
		if reason == "" && qos < 2 && pk.FixedHeader.Retain {
			reason = h.b.retain(pk.TopicName, pk.Payload, qos)
			pk.FixedHeader.Retain = false // present subscribers get it like any other message
		}
	case packets.Puback:
		c.acknowledged(pk.PacketID)
	case packets.Subscribe:
		for _, f := range pk.Filters {
			qos = max(qos, f.Qos)
		}
		reason = h.maySubscribe(c, cl, pk)
	}
	if reason != "" {
		h.b.log.Warn("mqtt client dropped", "thing", c.thing, "client_id", cl.ID, "reason", reason)
		c.refused = errors.New(reason)
		return pk, packets.ErrRejectPacket
	}
	if qos == 2 {
		h.b.log.Warn("mqtt packet ignored", "thing", c.thing, "client_id", cl.ID, "reason", "AWS IoT does not answer QoS 2")
		// An acknowledgement of nothing is what mochi ignores.
		return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, ProtocolVersion: pk.ProtocolVersion}, nil
	}
	return pk, nil
}

// mayPublish returns why not, or "".
func (h *rules) mayPublish(c *conn, id, topic string, retain bool) string {
	policy, _ := h.b.rules(c)
	switch {
	case strings.HasPrefix(topic, "$"):
		return "devices may not publish to the reserved topic " + topic
	case len(topic) > maxTopic:
		return fmt.Sprintf("a topic of more than %d bytes", maxTopic)
	case !policy.allows(actionPublish, "topic/"+topic, principal{c.thing, id}):
		return denied(actionPublish, "topic/"+topic)
	case retain && !policy.allows(actionRetain, "topic/"+topic, principal{c.thing, id}):
		return denied(actionRetain, "topic/"+topic)
	}
	return ""
}

// maySubscribe returns why the connection must be dropped, or "".
func (h *rules) maySubscribe(c *conn, cl *mqtt.Client, pk packets.Packet) string {
	if len(pk.Filters) > maxFilters {
		return fmt.Sprintf("more than %d filters in one SUBSCRIBE", maxFilters)
	}
	if cl.State.Subscriptions.Len()+len(pk.Filters) > maxSubscribed {
		return fmt.Sprintf("more than %d subscriptions", maxSubscribed)
	}
	policy, behaviour := h.b.rules(c)
	for _, f := range pk.Filters {
		if !behaviour.SubackFailure && !policy.allows(actionSubscribe, "topicfilter/"+f.Filter, principal{c.thing, cl.ID}) {
			return denied(actionSubscribe, "topicfilter/"+f.Filter)
		}
	}
	return ""
}

// OnSubscribe makes denied filters invalid ones, which mochi answers with a failure code: reached only when
// Behaviour.SubackFailure says so.
func (h *rules) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return pk
	}
	policy, _ := h.b.rules(c)
	for i, f := range pk.Filters {
		if !policy.allows(actionSubscribe, "topicfilter/"+f.Filter, principal{c.thing, cl.ID}) {
			h.b.log.Warn("mqtt subscription refused", "thing", c.thing, "client_id", cl.ID,
				"reason", denied(actionSubscribe, "topicfilter/"+f.Filter))
			pk.Filters[i].Filter = ""
		}
	}
	c.subscribing.Store(true)
	return pk
}

// OnSubscribed ends what OnSubscribe began.
func (*rules) OnSubscribed(cl *mqtt.Client, _ packets.Packet, _ []byte) {
	if c, ok := cl.Net.Conn.(*conn); ok {
		c.subscribing.Store(false)
	}
}

// OnACLCheck checks deliveries. Mochi asks it of SUBSCRIBE and PUBLISH too; those were checked before, and iot:Receive
// is no condition of theirs.
func (h *rules) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	c, ok := cl.Net.Conn.(*conn)
	return !ok || write || c.subscribing.Load() || h.b.mayReceive(cl, topic)
}

func (b *Broker) mayReceive(cl *mqtt.Client, topic string) bool {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return true
	}
	policy, _ := b.rules(c)
	if policy.allows(actionReceive, "topic/"+topic, principal{c.thing, cl.ID}) {
		return true
	}
	b.log.Warn("mqtt message not delivered", "thing", c.thing, "client_id", cl.ID, "reason", denied(actionReceive, "topic/"+topic))
	return false
}

// OnClientExpired removes the subscriptions of an expired session, which mochi forgets: the next session of that id
// would receive without having subscribed.
func (h *rules) OnClientExpired(cl *mqtt.Client) { h.b.server.UnsubscribeClient(cl) }
