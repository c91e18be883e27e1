package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sort"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/culvert-iot/culvert/sandbox/rate"
)

// DefaultSessionExpiry is how long AWS IoT keeps the session of a client that is away (AWS IoT developer guide: one
// hour by default).
const DefaultSessionExpiry = time.Hour

// Config is what a Broker is made of. Certificate and ClientCAs are required.
type Config struct {
	// Listen is the address that stands for port 8883: any client with a certificate. Default 127.0.0.1:0.
	Listen string
	// ListenALPN is the address that stands for port 443, where a client must name ALPN x-amzn-mqtt-ca. "": none.
	ListenALPN string

	Certificate tls.Certificate // of both listeners
	ClientCAs   *x509.CertPool  // who signs device certificates

	// Thing tells whose a verified certificate is; nil: it is the thing that its common name names.
	Thing func(*x509.Certificate) (string, error)

	// RequireSNI drops clients that name no server in the TLS handshake, as AWS IoT does. Off by default, because
	// TLS clients cannot name an IP address.
	RequireSNI bool

	Policy Policy // what devices may do; the zero value means DefaultPolicy

	// PolicyOf returns what a certificate's own policy is, at each thing that its bearer does; own is false for one that
	// has none, whom Policy is for. nil: none has.
	PolicyOf func(*x509.Certificate) (p Policy, own bool)

	// SessionExpiry is how long the session of an absent client is kept, in whole seconds. 0: DefaultSessionExpiry.
	SessionExpiry time.Duration

	// HTTP answers TLS clients that offer HTTP by ALPN, as the account's data endpoint does. They need no
	// certificate. nil refuses them.
	HTTP http.Handler

	Behaviour Behaviour
	Logger    *slog.Logger // nil: silent. Payloads are never logged.
}

// Behaviour is how refusals look. The zero value is what devices of AWS IoT report: the connection just drops.
type Behaviour struct {
	// ConnackCode, if not 0, is sent to a client that may not connect, before the drop. AWS IoT's documents name 7
	// (which MQTT 3.1.1 does not define) where the standard has 5.
	ConnackCode byte
	// SubackFailure answers a denied SUBSCRIBE with return code 0x80 and lets the connection stand.
	SubackFailure bool
	// ConnectLimit, if not 0, bounds the CONNECTs a second of all clients together. The broker drops the others'
	// connections, as AWS IoT does above its quota.
	ConnectLimit int
	// DirectByThingName delivers direct messages only to a client whose id is its thing's name. AWS's
	// documents leave open whether a thing's other clients receive them.
	DirectByThingName bool
}

// Broker is a running broker. Its methods are safe for concurrent use.
type Broker struct {
	cfg    Config
	log    *slog.Logger
	server *mqtt.Server
	gate   gate // shut while frozen

	// establish is held while a client takes over its session and while a message is published: else a message could
	// be filed with the session that is being replaced.
	establish sync.Mutex

	mu        sync.Mutex
	policy    Policy
	behaviour Behaviour
	connects  rate.Limiter
	listeners []net.Listener
	conns     map[*conn]struct{}
	records   map[string]Connection // by client id
	retained  map[string]Retained   // by topic
	running   bool
	closed    bool
	addrs     [2]string // bound addresses, plain and ALPN: kept over an outage
	tasks     sync.WaitGroup
}

// Start listens and serves until Close.
func Start(cfg Config) (*Broker, error) {
	b, err := newBroker(cfg)
	if err != nil {
		return nil, err
	}
	if err := b.Restart(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// newBroker makes a broker without listeners.
func newBroker(cfg Config) (*Broker, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.SessionExpiry <= 0 {
		cfg.SessionExpiry = DefaultSessionExpiry
	}
	if cfg.Thing == nil {
		cfg.Thing = commonName
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Policy.empty() {
		p, err := ParsePolicy([]byte(DefaultPolicy("us-east-1", "123456789012")))
		if err != nil {
			return nil, err
		}
		cfg.Policy = p
	}
	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.MinimumProtocolVersion = 4 // 3.1.1 and 5
	capabilities.MaximumQos = 1
	capabilities.RetainAvailable = 1 // announced to MQTT 5 clients; rules keeps the messages, not mochi
	capabilities.SharedSubAvailable = 0
	capabilities.MaximumPacketSize = maxPayload + maxTopic + 16
	capabilities.MaximumClientWritesPending = 1024
	capabilities.MaximumSessionExpiryInterval = uint32(min(cfg.SessionExpiry/time.Second, math.MaxUint32)) //nolint:gosec // bounded
	b := &Broker{
		cfg: cfg, log: cfg.Logger, policy: cfg.Policy, behaviour: cfg.Behaviour,
		conns: map[*conn]struct{}{}, records: map[string]Connection{}, retained: map[string]Retained{}, addrs: [2]string{cfg.Listen, cfg.ListenALPN},
		server: mqtt.New(&mqtt.Options{
			Capabilities: capabilities,
			InlineClient: true,
			// Mochi logs whole packets; their payloads hold tokens. What matters is logged by the hook.
			Logger:                 slog.New(slog.DiscardHandler),
			SysTopicResendInterval: 24 * 60 * 60, // no client may read them
		}),
	}
	if err := b.server.AddHook(&rules{b: b}, nil); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	if err := b.server.Serve(); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	return b, nil
}

// Addr is the address that stands for port 8883.
func (b *Broker) Addr() string { return b.address(0) }

// ALPNAddr is the address that stands for port 443, or "".
func (b *Broker) ALPNAddr() string { return b.address(1) }

func (b *Broker) address(i int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addrs[i]
}

// SetPolicy replaces the policy from now on; what is subscribed stays subscribed, but iot:Receive is checked at each
// delivery.
func (b *Broker) SetPolicy(p Policy) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.policy = p
}

// SetBehaviour changes how refusals look from now on.
func (b *Broker) SetBehaviour(behaviour Behaviour) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.behaviour = behaviour
}

func (b *Broker) rules(c *conn) (Policy, Behaviour) {
	b.mu.Lock()
	policy, behaviour := b.policy, b.behaviour
	b.mu.Unlock()
	if b.cfg.PolicyOf != nil {
		if own, ok := b.cfg.PolicyOf(c.cert); ok {
			policy = own
		}
	}
	return policy, behaviour
}

// Delivery is the outcome of a published message.
type Delivery struct {
	Sent   int `json:"sent"`   // to clients that are connected
	Stored int `json:"stored"` // for absent clients with a persistent session
}

// Publish sends a message as the service does: no policy applies to the sender. At qos 0 it reaches only who is
// connected, at qos 1 it waits for a persistent session that subscribed at 1.
func (b *Broker) Publish(topic string, payload []byte, qos byte) (Delivery, error) {
	if qos > 1 {
		return Delivery{}, fmt.Errorf("publish at QoS %d: AWS IoT knows 0 and 1", qos)
	}
	b.establish.Lock()
	defer b.establish.Unlock()
	var d Delivery
	for id, sub := range b.server.Topics.Subscribers(topic).Subscriptions {
		cl, ok := b.server.Clients.Get(id)
		switch {
		case !ok || !b.mayReceive(cl, topic):
		case !cl.Closed():
			d.Sent++
		case qos > 0 && sub.Qos > 0:
			d.Stored++
		}
	}
	return d, b.server.Publish(topic, payload, false, qos)
}

// ClientState is what the broker knows of a client id.
type ClientState struct {
	ID            string   `json:"client_id"`
	Thing         string   `json:"thing"`
	Connected     bool     `json:"connected"`
	Subscriptions []string `json:"subscriptions"`
	Unconfirmed   int      `json:"unconfirmed"` // messages at QoS 1 that the client has not acknowledged
}

// Clients lists who is connected or has a session, by client id.
func (b *Broker) Clients() []ClientState {
	list := []ClientState{}
	for id, cl := range b.server.Clients.GetAll() {
		c, ok := cl.Net.Conn.(*conn)
		if !ok {
			continue // the service's own client
		}
		s := ClientState{ID: id, Thing: c.thing, Connected: !cl.Closed(), Unconfirmed: cl.State.Inflight.Len(), Subscriptions: []string{}}
		for filter := range cl.State.Subscriptions.GetAll() {
			s.Subscriptions = append(s.Subscriptions, filter)
		}
		sort.Strings(s.Subscriptions)
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list
}

// Kick drops a client's connection and keeps its session. It reports whether there was one.
func (b *Broker) Kick(clientID string) bool {
	cl, ok := b.server.Clients.Get(clientID)
	if !ok || cl.Closed() || cl.Net.Conn == nil {
		return false
	}
	cl.Stop(errKicked)
	return true
}

var errKicked = errors.New("kicked")

// Close ends everything and waits for it.
func (b *Broker) Close() error {
	b.Stop()
	b.mu.Lock()
	again := b.closed
	b.closed = true
	b.mu.Unlock()
	if again {
		return nil
	}
	return b.server.Close()
}

func commonName(cert *x509.Certificate) (string, error) {
	if cert.Subject.CommonName == "" {
		return "", errors.New("the client certificate has no common name")
	}
	return cert.Subject.CommonName, nil
}
