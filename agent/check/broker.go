package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/notify"
	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/tlsdial"
)

// clashMemory is how long to report that another client took the daemon's client id.
const clashMemory = time.Hour

// broker tries the connection for notifications, and answers to pings.
func (c *checkup) broker(ctx context.Context) []*Result {
	list, a := c.connection(ctx)
	if c.cfg.MQTT.AnswerPings && !c.cfg.MQTT.Disabled {
		list = append(list, c.pingAnswer(a))
	}
	return list
}

// connection tries the connection for notifications, step by step.
func (c *checkup) connection(ctx context.Context) ([]*Result, notify.Attempt) {
	if c.cfg.MQTT.Disabled {
		return skipRest("notifications come by culvertd notify, with mqtt.enabled = false",
			"mqtt.name", "mqtt.tcp", "mqtt.tls", "mqtt.connect", "mqtt.subscribe", "mqtt.client_id", "mqtt.receive"), notify.Attempt{}
	}
	ctx, cancel := context.WithTimeout(ctx, brokerLimit)
	defer cancel()
	address := c.cfg.MQTT.Address()
	rt := c.newRoute("mqtt", "", c.cfg.MQTT.Endpoint, "mqtt.endpoint")
	name, ok := rt.name(ctx, address)
	list := []*Result{name}
	if !ok {
		return append(list, skipRest("the name does not resolve", "mqtt.tcp", "mqtt.tls", "mqtt.connect", "mqtt.subscribe", "mqtt.client_id", "mqtt.receive")...), notify.Attempt{}
	}
	var seen peer
	alone := c.alone()
	var answer func([]string) []byte
	if c.cfg.MQTT.AnswerPings {
		// It replaces what the daemon said at last, which "culvert ls" shows.
		answer = func([]string) []byte { return agent.Pong([]string{}, 0, c.cfg.Services) }
	}
	a := notify.Probe(ctx, notify.Config{
		ThingName: c.cfg.ThingName, Broker: c.cfg.MQTT.Broker, Dial: rt.dial, Login: agent.Login(c.cfg), Answer: answer,
		TLS: func() (*tls.Config, error) {
			config, err := agent.BrokerTLS(c.cfg, c.verify)
			if err != nil {
				return nil, err
			}
			seen.watch(config)
			return config, nil
		},
	}, notify.ProbeOptions{HandshakeOnly: !alone, Stay: c.Stay})
	if a.Err != nil {
		a.Err = c.late(ctx, a.Err)
	}
	if a.Stage == notify.Files {
		return append(list, skipRest("the certificate files cannot be used", "mqtt.tcp", "mqtt.tls", "mqtt.connect", "mqtt.subscribe", "mqtt.client_id", "mqtt.receive")...), a
	}
	tcp, ok := rt.tcp(ctx, address)
	list = append(list, tcp)
	if !ok {
		return append(list, skipRest("there is no connection", "mqtt.tls", "mqtt.connect", "mqtt.subscribe", "mqtt.client_id", "mqtt.receive")...), a
	}
	if a.Stage <= notify.TLS && a.Err != nil {
		list = append(list, failed("mqtt.tls", hint.Of(a.Err), "%v", a.Err).since(rt.began))
		return append(list, skipRest("there is no TLS", "mqtt.connect", "mqtt.subscribe", "mqtt.client_id", "mqtt.receive")...), a
	}
	list = append(list, seen.trusted("mqtt.tls", address).since(rt.began))
	if !alone {
		return append(list, c.askedSession()...), a
	}
	return append(list, c.session(a)...), a
}

// pingAnswer reports whether the broker takes answers to pings.
func (c *checkup) pingAnswer(a notify.Attempt) *Result {
	const id = "mqtt.answer"
	topic := "topic/culvert/" + c.cfg.ThingName + "/pong"
	denied := func(text, remedy string) *Result {
		r := warning(id, remedy, "%s", text)
		r.Policy = []Statement{c.allow("iot:Publish", topic), c.allow("iot:RetainPublish", topic)}
		return r
	}
	const remedy = "the policy must allow answers to pings, or set mqtt.answer_pings = false"
	s := c.daemon.status
	switch {
	case c.alone() && a.AnswerDenied:
		return denied("the broker closed the connection right after a test answer, and kept the next one, which had none", remedy)
	case c.alone() && a.Answered:
		return well(id, "the broker takes answers to pings")
	case c.alone():
		return skipRest("there is no stable subscription", id)[0]
	case s == nil:
		return skipRest("a daemon runs that cannot be asked, and a connection with its client id would end its own", id)[0]
	case s.MQTT.AnswersDenied:
		return denied("the running daemon no longer answers pings: its connection ended after each answer", remedy+"; then restart the daemon")
	case !s.MQTT.LastAnswer.IsZero():
		return well(id, "the running daemon answered a ping at %s", s.MQTT.LastAnswer.UTC().Format(time.DateTime+" UTC"))
	default:
		return skipped(id, "no ping was answered yet; the policy must allow iot:Publish and iot:RetainPublish on %s", topic)
	}
}

// alone reports that no daemon is connected with the client id, so that the probe may use it.
func (c *checkup) alone() bool {
	s := c.daemon.status
	if s == nil {
		return !c.daemon.running()
	}
	return s.MQTT.ClientID != c.cfg.MQTT.ClientID || s.MQTT.Endpoint != c.cfg.MQTT.Address()
}

// session reports what the probe learned from MQTT.
func (c *checkup) session(a notify.Attempt) []*Result {
	const silent = "shows only when a notification comes; the policy must allow iot:Receive on the topic (not the topicfilter)"
	receive := skipped("mqtt.receive", "%s", silent)
	denied := func(r *Result) *Result {
		r.Policy = c.statements(a.Fault)
		return r
	}
	id, topic := c.cfg.MQTT.ClientID, "$aws/things/"+c.cfg.ThingName+"/tunnels/notify"
	switch a.Stage {
	case notify.Connect:
		return append([]*Result{denied(failed("mqtt.connect", hint.Of(a.Err), "%v", a.Err))},
			skipRest("there is no MQTT session", "mqtt.subscribe", "mqtt.client_id", "mqtt.receive")...)
	case notify.Subscribe:
		return append([]*Result{
			well("mqtt.connect", "the broker took client id %s", id),
			denied(failed("mqtt.subscribe", hint.Of(a.Err), "%v", a.Err)),
		}, skipRest("there is no subscription", "mqtt.client_id", "mqtt.receive")...)
	case notify.Files, notify.Dial, notify.TLS, notify.Up:
	}
	list := []*Result{
		well("mqtt.connect", "the broker took client id %s, by a connection of this check", id),
		well("mqtt.subscribe", "%s", topic),
	}
	switch {
	case a.Fault == notify.ClientIDClash:
		list = append(list, failed("mqtt.client_id",
			fmt.Sprintf("stop the other client, or give this one an id of its own in mqtt.client_id; the policy must allow iot:Connect on it (%s)", id),
			"another client has the id %s: each connection with it was closed within %v, %d times", id, c.Stay, a.Drops+1))
	case a.Err != nil:
		list = append(list, failed("mqtt.client_id", "check the network", "the connection did not last: %v", a.Err))
	case a.Drops > 0:
		list = append(list, warning("mqtt.client_id", "check again; if it repeats, another client may have the id "+id,
			"the broker closed %s without a reason before one lasted", plural(a.Drops, "connection")))
	default:
		list = append(list, well("mqtt.client_id", "no other client took the connection over, within %v", c.Stay))
	}
	return append(list, receive)
}

// askedSession reports what the running daemon knows: connecting with its client id would end its
// connection.
func (c *checkup) askedSession() []*Result {
	s := c.daemon.status
	if s == nil {
		return skipRest("a daemon runs that cannot be asked, and a connection with its client id would end its own",
			"mqtt.connect", "mqtt.subscribe", "mqtt.client_id", "mqtt.receive")
	}
	m := s.MQTT
	text, remedy := "the running daemon: "+clean.Line(m.LastError, 500), clean.Line(m.LastHint, 500)
	broken := func(id string, f notify.Fault) *Result {
		if m.LastError == "" {
			return warning(id, "check again in a moment", "the running daemon is connecting")
		}
		r := failed(id, remedy, "%s", text)
		if f == m.LastFault {
			r.Policy = c.statements(f)
		}
		return r
	}
	connect := well("mqtt.connect", "the running daemon is connected, and no second connection was made")
	subscribe := well("mqtt.subscribe", "by the running daemon, since %s", m.Since.UTC().Format(time.DateTime+" UTC"))
	switch {
	case m.State == agent.Connecting && m.LastFault == notify.SubscribeDenied:
		connect.Text = "the broker takes the running daemon's client id"
		subscribe = broken("mqtt.subscribe", notify.SubscribeDenied)
	case m.State == agent.Connecting:
		connect = broken("mqtt.connect", notify.ConnectDenied)
		subscribe = skipRest("there is no MQTT session", "mqtt.subscribe")[0]
	case m.State == agent.Connected:
		subscribe = broken("mqtt.subscribe", notify.SubscribeDenied)
	}
	clientID := well("mqtt.client_id", "the running daemon holds %s", m.ClientID)
	if m.LastFault == notify.ClientIDClash && s.Now.Sub(m.LastErrorAt) < clashMemory {
		clientID = failed("mqtt.client_id", remedy, "%s", text)
	} else if m.State != agent.Subscribed {
		clientID = skipRest("there is no subscription", "mqtt.client_id")[0]
	}
	receive := skipped("mqtt.receive", "no notification came yet; the policy must allow iot:Receive on the topic (not the topicfilter)")
	if !m.LastNotify.IsZero() {
		receive = well("mqtt.receive", "the last notification came at %s", m.LastNotify.UTC().Format(time.DateTime+" UTC"))
	}
	return []*Result{connect, subscribe, clientID, receive}
}

// peer is the server of a TLS connection.
type peer struct {
	mu    sync.Mutex
	state *tls.ConnectionState // nil until its certificate was verified
	at    time.Time            // when that was: a first try with TLS may have taken long
}

// watch makes a configuration report to p.
func (p *peer) watch(config *tls.Config) {
	p.at = time.Now()
	config.VerifyConnection = func(s tls.ConnectionState) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.state, p.at = &s, time.Now()
		return nil
	}
}

func (p *peer) shown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state != nil
}

// trusted is the result of a handshake that succeeded, perhaps only in the second try.
func (p *peer) trusted(id, address string) *Result {
	if !tlsdial.NeedsSmallHello(address) {
		return well(id, "%s", p.describe())
	}
	return warning(id, "have the network let TLS ClientHellos of 1,500 bytes pass; until then the daemon connects without "+
		"post-quantum key exchange, 10 s later after each start",
		"%s; only without post-quantum key exchange (ML-KEM): a firewall or tunnel on the way drops ClientHellos above 1,400 bytes", p.describe())
}

func (p *peer) describe() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil || len(p.state.PeerCertificates) == 0 {
		return "trusted"
	}
	leaf := p.state.PeerCertificates[0]
	text := fmt.Sprintf("%s, a certificate of %s that is trusted", tls.VersionName(p.state.Version), name(leaf.Issuer.CommonName))
	if p.state.NegotiatedProtocol != "" {
		text += ", ALPN " + p.state.NegotiatedProtocol
	}
	return text
}

// outOfDate returns the certificate that is expired or not valid yet, if a handshake failed for that.
func outOfDate(err error) *x509.Certificate {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return invalid.Cert
	}
	return nil
}
