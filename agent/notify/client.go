package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/retry"
	"github.com/culvert-iot/culvert/internal/settings"
)

const (
	// connectSpacing: AWS IoT Core takes one CONNECT a second per client id (its quotas).
	connectSpacing = time.Second

	// defaultKeepAlive survives the usual NAT time-outs; minKeepAlive keeps paho's ticker above zero;
	// maxKeepAlive is AWS IoT Core's (AWS IoT developer guide, MQTT).
	defaultKeepAlive = time.Minute
	minKeepAlive     = 5 * time.Second
	maxKeepAlive     = 1200 * time.Second
)

// Config says where to connect and as whom.
type Config struct {
	ThingName string // whose notifications are subscribed to

	// Broker is the broker to connect to. KeepAlive: 0 means a minute; bounded to 5 s to 20 min. A dead broker is
	// noticed within KeepAlive + 30 s.
	settings.Broker

	// TLS makes the configuration, with roots and the device's certificate. It is called at each attempt,
	// so that replaced files are picked up. Server name and the minimum version (1.2) are set on a clone;
	// ALPN, by which AWS IoT tells protocols apart on port 443, is the caller's. nil means no TLS, for tests.
	TLS func() (*tls.Config, error)

	// Login makes the user name and the password of CONNECT, at each attempt. nil sends none.
	Login func() (username, password string, err error)

	// Dial opens TCP connections; nil means netdial.FromEnvironment.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Invalid, if set, is called with what is wrong with a message that is no notification. It must be
	// quick: nothing else is read meanwhile. The error repeats nothing of the message.
	Invalid func(error)

	// Answer, if set, makes the retained message that the client publishes on culvert/THING/pong after pings that ask
	// for an answer. asked holds their marks, oldest first, at most 4. nil only acknowledges pings. The policy must
	// allow iot:Publish and iot:RetainPublish.
	Answer func(asked []string) []byte

	Logger *slog.Logger // nil means slog.Default

	random func() float64 // the backoff's; set by tests
}

// State is a moment's view of the connection.
type State struct {
	Connected   bool      // the broker took the CONNECT
	Subscribed  bool      // and the SUBSCRIBE: notifications arrive
	Since       time.Time // of the last change of the two
	Attempts    int       // to connect, since there was last a subscription; the one under way counts
	LastError   string    // why the last attempt or connection ended; stays after recovery
	LastHint    string    // what to do about it
	LastErrorAt time.Time // zero if there was none
	LastFault   Fault     // of the last error; "" if it has none
	LastNotify  time.Time // when the last notification arrived; zero if none did
	LastAnswer  time.Time // when a ping was last answered; zero if none was

	AnswersDenied bool // pings are no longer answered, because the policy probably forbids it
}

// Client keeps the subscription up. Make it with New.
type Client struct {
	cfg      Config
	topic    string
	endpoint string // host:port
	logger   *slog.Logger
	inbox    *inbox
	retry    retry.Policy
	doctor   doctor
	reporter reporter
	ready    chan struct{}
	renew    chan struct{} // holds one call of Renew
	tried    *trial        // for the next attempt; used by Run's goroutine alone
	watchdog watchdog
	answers  answers

	mu    sync.Mutex
	state State
}

// New returns a client that does nothing yet.
func New(cfg Config) *Client {
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = defaultKeepAlive
	}
	cfg.KeepAlive = min(max(cfg.KeepAlive, minKeepAlive), maxKeepAlive)
	if cfg.Dial == nil {
		cfg.Dial = netdial.FromEnvironment().DialContext
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	c := &Client{
		cfg: cfg,
		// The reserved topic for tunnel notifications (AWS IoT developer guide, reserved topics).
		topic:    "$aws/things/" + cfg.ThingName + "/tunnels/notify",
		endpoint: net.JoinHostPort(cfg.Endpoint, strconv.Itoa(cfg.Port)),
		retry:    retry.Policy{Backoff: backoff.Backoff{Random: cfg.random}},
		ready:    make(chan struct{}),
		renew:    make(chan struct{}, 1),
		state:    State{Since: time.Now()},
	}
	c.logger = cfg.Logger.With("endpoint", c.endpoint, "client_id", cfg.ClientID)
	c.inbox = newInbox(c.topic, cfg.Invalid, c.logger)
	if cfg.Answer != nil {
		c.inbox.asked = make(chan string, 1)
	}
	c.doctor = doctor{clientID: cfg.ClientID, byName: cfg.Login != nil, topic: c.topic, endpoint: c.endpoint}
	c.reporter = reporter{logger: c.logger}
	return c
}

// Run connects, subscribes and stays connected until ctx ends, whose cause it then returns: it never gives
// up. After each loss it waits with full jitter, from 0.5 s to 60 s. Call it once.
//
// handle is called with one notification after the other, in order of arrival. While it runs, up to 64
// more wait; of more, the oldest are dropped. A message is acknowledged to the broker when handle has
// returned. Run waits for a running handle before it returns.
func (c *Client) Run(ctx context.Context, handle func(Notification)) error {
	var worker sync.WaitGroup
	defer worker.Wait()
	worker.Go(func() { c.inbox.deliver(ctx, handle) })
	defer func() { c.tried.close() }()

	for {
		c.watchdog.begin("connect to the MQTT broker")
		c.set(func(s *State) { s.Attempts++ })
		e := c.connect(ctx, c.inbox)
		c.set(func(s *State) {
			if s.Connected {
				s.Connected, s.Subscribed, s.Since = false, false, time.Now()
			}
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(e.err, errRenewed) {
			continue
		}
		stood := time.Duration(0)
		if e.stage == stageUp {
			stood = e.after
		}
		delay := max(c.retry.Failed(stood), time.Until(e.connectAt.Add(connectSpacing)))
		if c.answers.lost(e) {
			c.set(func(s *State) { s.AnswersDenied = true })
			c.logger.Warn("pings are no longer answered, the mqtt connection ended after each answer", "reason",
				"the policy must allow iot:Publish and iot:RetainPublish on topic/"+c.pongTopic()+"; a restart tries again")
		}
		failure := c.doctor.diagnose(e)
		attempts := 0
		c.set(func(s *State) {
			s.LastError, s.LastHint, s.LastErrorAt, s.LastFault = failure.Error(), failure.Hint(), time.Now(), failure.fault
			attempts = s.Attempts
		})
		c.reporter.failed(failure, e, attempts, delay)
		c.watchdog.begin("wait before the next MQTT connection")
		if err := c.wait(ctx, delay, e.connectAt.Add(connectSpacing)); err != nil {
			return err
		}
	}
}

// Ready is closed when the first subscription stands.
func (c *Client) Ready() <-chan struct{} { return c.ready }

// State returns the present state. It may be called at any time.
func (c *Client) State() State {
	c.mu.Lock()
	s := c.state
	c.mu.Unlock()
	if at := c.inbox.lastArrival.Load(); at != nil {
		s.LastNotify = *at
	}
	return s
}

func (c *Client) set(change func(*State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.state)
}

// up records a SUBACK.
func (c *Client) up(now time.Time) {
	attempts := 0
	c.set(func(s *State) {
		attempts = s.Attempts
		s.Subscribed, s.Since, s.Attempts = true, now, 0
	})
	c.reporter.subscribed(c.cfg.ThingName, attempts)
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
}
