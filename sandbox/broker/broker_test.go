package broker

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"
)

// everything allows all that a policy can allow.
const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

func TestConnect(t *testing.T) {
	tests := []struct {
		name      string
		id        string
		change    func(*packets.Packet)
		behaviour Behaviour
		v5        bool
		wantCode  int // -1: dropped without a word
	}{
		{name: "as the thing", id: "pi-1", wantCode: 0},
		{name: "as the thing's tunnel agent", id: "pi-1-tunnel", wantCode: 0},
		{name: "MQTT 5", id: "pi-1", v5: true, wantCode: 0},
		{name: "user name and password are ignored", id: "pi-1", wantCode: 0, change: func(pk *packets.Packet) {
			pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte("?SDK=x")
			pk.Connect.PasswordFlag, pk.Connect.Password = true, []byte("y")
		}},
		{name: "as another thing", id: "pi-2", wantCode: -1},
		{name: "without a client id", id: "", wantCode: -1},
		{name: "as another thing, CONNACK 7", id: "pi-2", behaviour: Behaviour{ConnackCode: 7}, wantCode: 7},
		{name: "as another thing, CONNACK 5", id: "pi-2", behaviour: Behaviour{ConnackCode: 5}, wantCode: 5},
		{name: "as another thing, MQTT 5", id: "pi-2", v5: true, behaviour: Behaviour{ConnackCode: 7}, wantCode: 0x87},
		{name: "with a will that forges a notification", id: "pi-1", wantCode: -1, change: func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "$aws/things/pi-2/tunnels/notify", []byte("{}")
		}},
		{name: "MQTT 3.1", id: "pi-1", wantCode: 1, change: func(pk *packets.Packet) {
			pk.ProtocolVersion, pk.Connect.ProtocolName = 3, []byte("MQIsdp")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, ca := newConfig(t)
			cfg.Behaviour = tt.behaviour
			b := start(t, cfg)
			c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
			if tt.v5 {
				c.v = 5
			}
			c.connect(tt.id, true, 60, tt.change)
			if tt.wantCode == -1 {
				c.wantDrop()
				return
			}
			if pk := c.want(packets.Connack); int(pk.ReasonCode) != tt.wantCode {
				t.Fatalf("CONNACK code %d, want %d", pk.ReasonCode, tt.wantCode)
			}
			if tt.wantCode != 0 {
				c.wantDrop()
			}
		})
	}
}

func TestClientIDLength(t *testing.T) {
	cfg, ca := newConfig(t)
	cfg.Policy = policy(t, everything)
	b := start(t, cfg)
	c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	c.session(strings.Repeat("x", 128), true)
	c = dial(t, b.Addr(), deviceTLS(t, ca, thing))
	c.connect(strings.Repeat("x", 129), true, 60, nil)
	c.wantDrop()
}

func TestSubscribe(t *testing.T) {
	tests := []struct {
		name    string
		filters []string
		qos     byte
		failure bool   // Behaviour.SubackFailure
		want    []byte // nil: dropped
	}{
		{name: "own notifications at QoS 1", filters: []string{notify}, qos: 1, want: []byte{1}},
		{name: "own notifications at QoS 0", filters: []string{notify}, qos: 0, want: []byte{0}},
		{name: "another thing's notifications", filters: []string{"$aws/things/pi-2/tunnels/notify"}, qos: 1},
		{name: "a wild card that covers them", filters: []string{"$aws/things/+/tunnels/notify"}, qos: 1},
		{name: "everything", filters: []string{"#"}, qos: 1},
		{name: "one allowed and one denied", filters: []string{notify, "other"}, qos: 1},
		{name: "a denied one, answered", filters: []string{"other"}, qos: 1, failure: true, want: []byte{0x80}},
		{name: "one allowed and one denied, answered", filters: []string{notify, "other"}, qos: 1, failure: true, want: []byte{1, 0x80}},
		{name: "more filters than AWS IoT takes", filters: strings.Split(strings.Repeat(notify+" ", 9), " ")[:9], qos: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, ca := newConfig(t)
			cfg.Behaviour.SubackFailure = tt.failure
			b := start(t, cfg)
			c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
			c.session("pi-1-tunnel", true)
			c.subscribe(9, tt.qos, tt.filters...)
			if tt.want == nil {
				c.wantDrop()
				return
			}
			if pk := c.want(packets.Suback); !bytes.Equal(pk.ReasonCodes, tt.want) {
				t.Errorf("SUBACK codes %v, want %v", pk.ReasonCodes, tt.want)
			}
			c.ping()
			c.want(packets.Pingresp)
		})
	}
}

const publishOnly = `{"Statement": [
  {"Effect": "Allow", "Action": ["iot:Connect", "iot:Publish"], "Resource": "*"}
]}`

func retained(pk *packets.Packet) { pk.FixedHeader.Retain = true }

func TestPublishFromADevice(t *testing.T) {
	tests := []struct {
		name   string
		policy string
		topic  string
		qos    byte
		change func(*packets.Packet)
		want   byte // packet type; 0: dropped; Pingresp: ignored
	}{
		{name: "the tunnel policy allows nothing", topic: "t", qos: 1},
		{name: "nothing at QoS 0 either", topic: "t", qos: 0},
		{name: "allowed by policy", policy: everything, topic: "t", qos: 1, want: packets.Puback},
		{name: "own notification topic, whatever the policy", policy: everything, topic: notify, qos: 1},
		{name: "another reserved topic", policy: everything, topic: "$aws/things/pi-1/shadow/update", qos: 0},
		{name: "retained", policy: everything, topic: "t", qos: 1, change: retained, want: packets.Puback},
		{name: "retained, with iot:Publish alone", policy: publishOnly, topic: "t", qos: 1, change: retained},
		{name: "not retained, with iot:Publish alone", policy: publishOnly, topic: "t", qos: 1, want: packets.Puback},
		{name: "retained answers to pings, as tunnels need no more", topic: "culvert/pi-1/pong", qos: 1, change: retained, want: packets.Puback},
		{name: "retained answers of another thing", topic: "culvert/pi-2/pong", qos: 1, change: retained},
		{name: "QoS 2 gets no answer", policy: everything, topic: "t", qos: 2, want: packets.Pingresp},
		{name: "a payload of 128 KiB", policy: everything, topic: "t", qos: 1, want: packets.Puback, change: func(pk *packets.Packet) {
			pk.Payload = make([]byte, maxPayload)
		}},
		{name: "a payload of more than 128 KiB", policy: everything, topic: "t", qos: 1, change: func(pk *packets.Packet) {
			pk.Payload = make([]byte, maxPayload+1)
		}},
		{name: "a topic of more than 256 bytes", policy: everything, topic: strings.Repeat("t", 257), qos: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, ca := newConfig(t)
			if tt.policy != "" {
				cfg.Policy = policy(t, tt.policy)
			}
			b := start(t, cfg)
			c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
			c.session("pi-1-tunnel", true)
			c.publish(tt.topic, tt.qos, tt.change)
			if tt.want == 0 {
				c.wantDrop()
				return
			}
			if tt.want == packets.Pingresp {
				c.ping()
			}
			c.want(tt.want)
		})
	}
}

func TestSubscribeAtQoS2GetsNoAnswer(t *testing.T) {
	cfg, ca := newConfig(t)
	b := start(t, cfg)
	c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	c.session("pi-1-tunnel", true)
	c.subscribe(3, 2, notify)
	c.ping()
	c.want(packets.Pingresp)
	if d, err := b.Publish(notify, []byte("{}"), 1); err != nil || d != (Delivery{}) {
		t.Errorf("Publish = %+v, %v; the subscription counts", d, err)
	}
}

func TestPublishReachesSubscribers(t *testing.T) {
	cfg, ca := newConfig(t)
	b := start(t, cfg)
	for _, qos := range []byte{0, 1} {
		c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
		c.session("pi-1-tunnel", true)
		c.subscribed(1)
		if d, err := b.Publish(notify, []byte("payload"), qos); err != nil || d != (Delivery{Sent: 1}) {
			t.Fatalf("Publish at %d = %+v, %v", qos, d, err)
		}
		pk := c.want(packets.Publish)
		if pk.TopicName != notify || string(pk.Payload) != "payload" || pk.FixedHeader.Qos != qos || pk.FixedHeader.Retain {
			t.Errorf("received %+v", pk)
		}
	}
	if _, err := b.Publish(notify, nil, 2); err == nil {
		t.Error("published at QoS 2")
	}
	if d, err := b.Publish("$aws/things/nobody/tunnels/notify", nil, 1); err != nil || d != (Delivery{}) {
		t.Errorf("Publish without a receiver = %+v, %v", d, err)
	}
}

func TestReceiveIsJudgedAtDelivery(t *testing.T) {
	cfg, ca := newConfig(t)
	var log logBuffer
	cfg.Logger = log.logger()
	// The classic mistake: iot:Receive on a topic filter.
	cfg.Policy = policy(t, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":["iot:Subscribe","iot:Receive"],"Resource":"arn:aws:iot:eu-west-1:123456789012:topicfilter/$aws/things/*"}]}`)
	b := start(t, cfg)
	c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	c.session("pi-1-tunnel", true)
	c.subscribed(1)
	if d, err := b.Publish(notify, []byte("{}"), 1); err != nil || d != (Delivery{}) {
		t.Errorf("Publish = %+v, %v", d, err)
	}
	c.ping()
	c.want(packets.Pingresp)
	if !strings.Contains(log.String(), "iot:Receive on topic/"+notify) {
		t.Errorf("the log does not name the missing action:\n%s", &log)
	}
	b.SetPolicy(policy(t, everything))
	if d, err := b.Publish(notify, []byte("{}"), 1); err != nil || d != (Delivery{Sent: 1}) {
		t.Errorf("Publish after the repair = %+v, %v", d, err)
	}
	c.want(packets.Publish)
}

func TestLogsNoPayload(t *testing.T) {
	cfg, ca := newConfig(t)
	var log logBuffer
	cfg.Logger = log.logger()
	b := start(t, cfg)
	c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	c.session("pi-1-tunnel", false)
	c.subscribed(1)
	if _, err := b.Publish(notify, []byte("confidential"), 1); err != nil {
		t.Fatal(err)
	}
	c.want(packets.Publish)
	c.publish(notify, 1, func(pk *packets.Packet) { pk.Payload = []byte("confidential") })
	c.wantDrop()
	eventually(t, "the log shows the end", func() bool { return strings.Contains(log.String(), "disconnected") })
	if text := log.String(); strings.Contains(text, "confidential") || !strings.Contains(text, "reserved topic") {
		t.Errorf("log:\n%s", text)
	}
}

func TestNewestConnectionOfAClientIDWins(t *testing.T) {
	for _, clean := range []bool{true, false} {
		cfg, ca := newConfig(t)
		b := start(t, cfg)
		device := deviceTLS(t, ca, thing)
		var last *client
		for i := range 20 { // mochi alone loses the new one now and then
			c := dial(t, b.Addr(), device)
			if present := c.session("pi-1-tunnel", clean); present != (i > 0 && !clean) {
				t.Fatalf("clean %v, connection %d: session present %v", clean, i, present)
			}
			c.subscribed(1)
			if last != nil {
				last.wantDrop()
			}
			if d, err := b.Publish(notify, []byte("{}"), 1); err != nil || d != (Delivery{Sent: 1}) {
				t.Fatalf("clean %v, connection %d: Publish = %+v, %v", clean, i, d, err)
			}
			c.ack(c.want(packets.Publish).PacketID)
			eventually(t, "the acknowledgement is in", func() bool { return b.Clients()[0].Unconfirmed == 0 })
			last = c
		}
	}
}

func TestStartSaysWhichAddressIsTaken(t *testing.T) {
	cfg, _ := newConfig(t)
	b := start(t, cfg)
	cfg.Listen, cfg.ListenALPN = "", b.Addr()
	if _, err := Start(cfg); err == nil || !strings.Contains(err.Error(), b.Addr()) {
		t.Errorf("second listener on %s: %v", b.Addr(), err)
	}
}

func TestClients(t *testing.T) {
	cfg, ca := newConfig(t)
	b := start(t, cfg)
	if diff := cmp.Diff([]ClientState{}, b.Clients()); diff != "" {
		t.Errorf("without a receiver (-want +got):\n%s", diff)
	}
	c := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	c.session("pi-1-tunnel", false)
	c.subscribed(1)
	other := dial(t, b.Addr(), deviceTLS(t, ca, "pi-2"))
	other.session("pi-2", true)
	if _, err := b.Publish(notify, []byte("{}"), 1); err != nil {
		t.Fatal(err)
	}
	c.want(packets.Publish)
	_ = c.Close()
	eventually(t, "the broker notices", func() bool { return !connected(b, "pi-1-tunnel") })
	want := []ClientState{
		{ID: "pi-1-tunnel", Thing: "pi-1", Subscriptions: []string{notify}, Unconfirmed: 1},
		{ID: "pi-2", Thing: "pi-2", Connected: true, Subscriptions: []string{}},
	}
	if diff := cmp.Diff(want, b.Clients()); diff != "" {
		t.Errorf("Clients (-want +got):\n%s", diff)
	}
}

func TestConnectsAboveTheLimitAreDropped(t *testing.T) {
	cfg, ca := newConfig(t)
	cfg.Behaviour.ConnectLimit = 1
	b := start(t, cfg)
	first := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	first.connect("pi-1", true, 60, nil)
	first.want(packets.Connack)
	second := dial(t, b.Addr(), deviceTLS(t, ca, thing))
	second.connect("pi-1-tunnel", true, 60, nil)
	second.wantDrop()
}
