package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/tlsdial"
)

const (
	dialLimit    = 30 * time.Second // name, TCP, proxy and TLS together
	connackLimit = 15 * time.Second // from CONNECT to CONNACK
	subackLimit  = 10 * time.Second // from SUBSCRIBE to SUBACK
	pingLimit    = 10 * time.Second // from PINGREQ to PINGRESP
	handOver     = 3 * time.Second  // to paho's writer; it only waits while a write is stuck
	goodbyeLimit = 500 * time.Millisecond

	// silenceMargin is added to the keep-alive: paho looks every 5 s whether a ping is due and again
	// whether its answer is overdue. So paho notices a dead broker first, and mqttConn is the net below.
	silenceMargin = pingLimit + 20*time.Second

	suback128 = 0x80 // SUBACK's return code for failure (MQTT 3.1.1, section 3.9.3)
)

// stage is how far a connection came.
type stage int

const (
	stageFiles     stage = iota // making the TLS configuration
	stageDial                   // name, TCP, web proxy
	stageTLS                    // handshake
	stageConnect                // CONNECT sent, no CONNACK yet
	stageSubscribe              // SUBSCRIBE sent, no SUBACK yet
	stageUp                     // subscribed
)

// end is how one connection ended and how far it had come.
type end struct {
	stage     stage
	err       error
	after     time.Duration // since the stage began; for stageUp that is how long the session stood
	connectAt time.Time     // when CONNECT was sent; zero if it was not
	tls       *tls.Config   // as used; nil without TLS
}

// now is the time that certificates were judged by.
func (e end) now() time.Time {
	if e.tls != nil && e.tls.Time != nil {
		return e.tls.Time()
	}
	return time.Now()
}

var (
	errNoSuback      = errors.New("no SUBACK")
	errSubackRefused = errors.New("broker refused SUBSCRIBE with return code 128")
	// errGivenUp: paho ended a connection that had no error of its own, as after a ping without an answer.
	errGivenUp = errors.New("connection given up")
)

// connect makes one connection, subscribes, and stays until it is lost or ctx ends.
func (c *Client) connect(ctx context.Context, in *inbox) end {
	began := time.Now()
	at := func(s stage, err error) end { return end{stage: s, err: err, after: time.Since(began)} }

	tried := c.tried
	c.tried = nil
	if tried == nil {
		config, err := c.tlsConfig()
		if err != nil {
			return at(stageFiles, err)
		}
		conn, s, err := c.open(ctx, config)
		if err != nil {
			e := at(s, err)
			e.tls = config
			return e
		}
		tried = &trial{conn: conn, config: config}
	}
	g := newMQTTConn(tried.conn, c.cfg.KeepAlive+silenceMargin)
	defer func() { _ = g.Close() }()
	e := c.session(ctx, g, in, tried.config)
	e.tls = tried.config
	return e
}

// tlsConfig asks for the configuration at each attempt, so that replaced certificate files count from the next one.
func (c *Client) tlsConfig() (*tls.Config, error) {
	if c.cfg.TLS == nil {
		return nil, nil
	}
	config, err := c.cfg.TLS()
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	// AWS IoT Core demands the server name, also where the address came from somewhere else.
	config.ServerName = c.cfg.Endpoint
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	return config, nil
}

// open dials and does the TLS handshake. paho could do both, but its errors would not say which one failed.
func (c *Client) open(ctx context.Context, config *tls.Config) (net.Conn, stage, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	dial := func(ctx context.Context) (net.Conn, error) { return c.cfg.Dial(ctx, "tcp", c.endpoint) }
	if config == nil {
		conn, err := dial(ctx)
		return conn, stageDial, err
	}
	conn, err := tlsdial.Dial(ctx, c.endpoint, config, dial)
	if err == nil {
		return conn, stageTLS, nil
	}
	if dialed, ok := errors.AsType[*tlsdial.DialError](err); ok {
		return nil, stageDial, dialed.Err
	}
	return nil, stageTLS, err
}

// session is the life of one MQTT session over an open connection.
func (c *Client) session(ctx context.Context, g *mqttConn, in *inbox, config *tls.Config) end {
	began := time.Now()
	connectAt := began
	at := func(s stage, err error) end {
		ended := time.Now()
		select {
		case <-g.dead: // paho may have taken seconds to notice
			ended = g.died
		default:
		}
		return end{stage: s, err: err, after: ended.Sub(began), connectAt: connectAt}
	}
	lost := make(chan error, 1)
	options := c.options(g, in, lost)
	if c.cfg.Login != nil {
		username, password, err := c.cfg.Login()
		if err != nil {
			return at(stageFiles, err)
		}
		options.SetUsername(username)
		options.SetPassword(password)
	}
	client := mqtt.NewClient(options)

	token := client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		_ = g.Close() // paho's attempt ends with the connection
		<-token.Done()
		client.Disconnect(0) // it may have succeeded just before
		return at(stageConnect, context.Cause(ctx))
	}
	if err := token.Error(); err != nil {
		return at(stageConnect, g.cause(err))
	}

	began = time.Now()
	c.set(func(s *State) { s.Connected, s.Since = true, began })
	token = client.Subscribe(c.topic, 1, nil) // nil: the default handler, which was there before the CONNACK
	timeout := time.NewTimer(subackLimit)
	defer timeout.Stop()
	var err error
	select {
	case <-token.Done():
		err = subscribed(token, c.topic)
		if token.Error() != nil {
			// The connection went; its own error says more.
			err = g.causeWithin(time.Second, err)
		}
	case <-g.dead:
		err = g.err
	case err = <-lost:
		err = g.cause(err)
	case <-timeout.C:
		err = errNoSuback
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		e := at(stageSubscribe, err)
		c.goodbye(client, g)
		return e
	}

	began = time.Now()
	c.up(began)
	c.watchdog.wait()
	err = c.stay(ctx, client, g, lost, config)
	e := at(stageUp, err)
	c.goodbye(client, g)
	return e
}

// stay waits until the session is lost, ctx ends, or new certificate files have proved themselves.
func (c *Client) stay(ctx context.Context, client mqtt.Client, g *mqttConn, lost <-chan error, config *tls.Config) error {
	trying, cancel := context.WithCancel(ctx)
	var tries chan *trial
	var due *time.Timer // when the next answer may go out; nil: no ping waits
	defer func() {
		cancel()
		if due != nil {
			due.Stop()
		}
		if tries != nil {
			(<-tries).close()
		}
	}()
	c.answers.begin()
	for {
		var answer <-chan time.Time
		if due != nil {
			answer = due.C
		}
		select {
		case <-g.dead:
			return g.err
		case err := <-lost:
			return g.cause(err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case mark := <-c.inbox.asked:
			if wait, ok := c.answers.ask(mark, time.Now()); ok && due == nil {
				due = time.NewTimer(wait)
			}
		case <-answer:
			due = nil
			// QoS 0: the operator asks again after a lost answer, and the client need not wait for an acknowledgement.
			now := time.Now()
			client.Publish(c.pongTopic(), 0, true, c.cfg.Answer(c.answers.take(now)))
			c.set(func(s *State) { s.LastAnswer = now })
		case <-c.renew:
			if tries == nil {
				tries = make(chan *trial, 1)
				go func() { tries <- c.tryFiles(trying, config) }()
			}
		case t := <-tries:
			tries = nil
			switch {
			case t.err != nil:
				c.logger.Warn("certificate files have changed and do not work, the mqtt connection stays as it is", "error", hint.Line(t.err))
			case t.conn != nil:
				c.logger.Info("certificate files have changed, reconnecting")
				c.tried = t
				return errRenewed
			}
		}
	}
}

// goodbye sends DISCONNECT if that is still possible, so that the broker does not wait for the keep-alive
// to run out, and ends paho's goroutines.
func (c *Client) goodbye(client mqtt.Client, g *mqttConn) {
	select {
	case <-g.dead:
	default:
		client.Disconnect(uint(goodbyeLimit / time.Millisecond))
	}
	_ = g.Close()
	client.Disconnect(0)
}

func (c *Client) options(g *mqttConn, in *inbox, lost chan<- error) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions()
	o.AddBroker("tcp://broker") // only a label: the connection is the one below
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return g, nil })
	o.SetClientID(c.cfg.ClientID)
	o.SetProtocolVersion(4) // else paho repeats a refused CONNECT as MQTT 3.1
	o.SetCleanSession(!c.cfg.PersistentSession)
	o.SetKeepAlive(c.cfg.KeepAlive)
	o.SetPingTimeout(pingLimit)
	o.SetConnectTimeout(connackLimit)
	o.SetWriteTimeout(handOver)
	// paho's own reconnecting has no jitter, and waits up to 10 minutes.
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	// In order, which is safe because the handler only hands over. Without it each message has its own
	// goroutine, in no order and without a bound.
	o.SetOrderMatters(true)
	o.SetAutoAckDisabled(true)
	// Stored messages may come before the SUBACK. One without a handler would never be acknowledged.
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { in.put(m.Topic(), m.Payload(), m.Ack) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	return o
}

// subscribed reads a completed SUBSCRIBE token. paho reports no error for a refusal.
func subscribed(token mqtt.Token, topic string) error {
	if err := token.Error(); err != nil {
		return err
	}
	code, ok := token.(*mqtt.SubscribeToken).Result()[topic]
	switch {
	case !ok:
		return errNoSuback
	case code == suback128:
		return errSubackRefused
	}
	return nil
}

// cause prefers the connection's own error to what paho made of it.
func (g *mqttConn) cause(err error) error {
	select {
	case <-g.dead:
		return g.err
	default:
	}
	return fmt.Errorf("%w: %w", errGivenUp, err)
}

// causeWithin waits a moment for the connection's own error: paho may notice by another way first.
func (g *mqttConn) causeWithin(d time.Duration, err error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-g.dead:
		return g.err
	case <-timer.C:
		return err
	}
}
