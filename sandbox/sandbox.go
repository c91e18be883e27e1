package sandbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
	"github.com/culvert-iot/culvert/sandbox/pki"
	"github.com/culvert-iot/culvert/sandbox/registry"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// Config is what a Sandbox is made of. The zero value is ready to use: strict and awkward, on free ports of the
// loopback interface, with one thing named pi-1.
type Config struct {
	// Dir holds certificates, keys and the daemon's configuration; it is created with mode 0700. The authority
	// and the devices' keys of an earlier run are used again. One sandbox at a time can use a directory.
	// "" means a temporary one, which Close removes.
	Dir string

	// Listen is the host or address of all listeners but the admin endpoint, which is always on 127.0.0.1.
	// Default 127.0.0.1. The control API is plain HTTP without authentication: think before you open it.
	Listen string
	// Advertise is the host that URLs and written files name. Default: Listen, or 127.0.0.1 if that means all
	// interfaces.
	Advertise string
	Ports     Ports
	Names     []string // more host names and addresses for the server certificates

	Region  string   // default eu-west-1
	Account string   // 12 digits; default 123456789012
	Things  []string // each gets a certificate and a configuration; default pi-1. Device adds more.
	// Services are the lines of the [services] table of the written configurations, name to address as culvertd takes
	// it. Default: SSH is 22, HTTP is 8080.
	Services map[string]string

	// Behaviour answers the open questions on tokens, rotation and refusals.
	Behaviour tunnels.Behaviour
	// MaxTunnels limits open tunnels; 0 is no limit. MaxServices limits those of one tunnel; 0 means 3.
	MaxTunnels, MaxServices int

	// API is how the control API's errors look; AllowUnsigned takes calls without a signature.
	API           api.Behaviour
	AllowUnsigned bool

	// DataPlane is how the API that shows and reaches connected clients refuses. It answers at the control
	// API's address and, as on AWS, at the MQTT endpoint's.
	DataPlane dataplane.Behaviour

	// NoFleetIndex plays an account without fleet indexing: SearchIndex fails.
	NoFleetIndex bool

	// Relay is how the data endpoint behaves. Store and Logger are filled in.
	Relay relay.Config

	// MQTT is how the broker refuses; Policy is an AWS IoT policy document, nil for the one that tunnels need;
	// SessionExpiry is how long an absent client's session is kept, 0 for an hour; RequireSNI drops clients that name
	// no server.
	MQTT          broker.Behaviour
	Policy        []byte
	SessionExpiry time.Duration
	RequireSNI    bool

	// Notifications is how the news of a token travels.
	Notifications Notifications
	// PublishVia publishes through another broker, such as a real one, instead of the embedded one, which is then not
	// started. MQTTEndpoint is its host:port, for the written configurations.
	PublishVia   func(topic string, payload []byte, qos byte) error
	MQTTEndpoint string

	// Now is the clock of tunnels and signatures; nil means time.Now. With another one call Store.Sweep after moving it.
	Now    func() time.Time
	Logger *slog.Logger // nil: silent
}

// Ports are the listeners' ports; 0 means any free one.
type Ports struct {
	API, Relay, Admin int
	MQTT              int // stands for 8883
	MQTTALPN          int // stands for 443
}

// Sandbox is a running sandbox. Its fields are not to be changed.
type Sandbox struct {
	Dir    string
	Region string
	CA     *pki.Authority
	Store  *tunnels.Store
	API    *api.API
	Relay  *relay.Relay
	Broker *broker.Broker // nil with Config.PublishVia
	// DataPlane shows and reaches connected clients.
	DataPlane *dataplane.API
	// Registry is where devices are set up, at the control API's address.
	Registry *registry.Registry

	APIURL   string // http://host:port, for --endpoint-url of the AWS CLI
	RelayURL string // wss://host:port, the data endpoint
	AdminURL string // http://127.0.0.1:port
	MQTT     string // host:port, stands for port 8883
	MQTTALPN string // host:port, stands for port 443; "" with Config.PublishVia

	cfg      Config
	log      *slog.Logger
	notifier *notifier
	policy   broker.Policy          // the first one, of cfg.Policy
	document atomic.Pointer[[]byte] // of the current policy
	lock     io.Closer              // of Config.Dir
	tempDirs []string
	servers  []*http.Server
	tasks    sync.WaitGroup
	closing  sync.Once
	closeErr error

	mu        sync.Mutex
	devices   []Device
	behaviour behaviours
}

// Start runs a sandbox until Close, or until ctx is cancelled.
func Start(ctx context.Context, cfg Config) (*Sandbox, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sandbox{
		cfg: cfg, log: cfg.Logger, Region: cfg.Region,
		behaviour: behaviours{Tunnels: cfg.Behaviour, API: cfg.API, MQTT: cfg.MQTT, Notifications: cfg.Notifications, DataPlane: cfg.DataPlane},
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return s, nil
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1"
	}
	if cfg.Advertise == "" {
		cfg.Advertise = cfg.Listen
		if ip := net.ParseIP(cfg.Listen); ip != nil && ip.IsUnspecified() {
			cfg.Advertise = "127.0.0.1"
		}
		if cfg.RequireSNI && cfg.Advertise == "127.0.0.1" {
			cfg.Advertise = "localhost" // an address cannot be named in SNI
		}
	}
	if cfg.Region == "" {
		cfg.Region = "eu-west-1"
	}
	if cfg.Account == "" {
		cfg.Account = "123456789012"
	}
	if len(cfg.Account) != 12 || strings.Trim(cfg.Account, "0123456789") != "" {
		return cfg, fmt.Errorf("account %q: an AWS account has 12 digits", cfg.Account)
	}
	if len(cfg.Things) == 0 {
		cfg.Things = []string{"pi-1"}
	}
	if cfg.Policy == nil {
		cfg.Policy = []byte(broker.DefaultPolicy(cfg.Region, cfg.Account))
	}
	if cfg.Services == nil {
		cfg.Services = map[string]string{"SSH": "22", "HTTP": "8080"}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

func (s *Sandbox) start() (err error) {
	cfg := s.cfg
	if s.Dir, err = s.makeDir(); err != nil {
		return err
	}
	if s.CA, err = pki.Open(s.Dir, "culvert sandbox root"); err != nil {
		return err
	}
	cert, err := s.CA.Server(append([]string{cfg.Listen, cfg.Advertise}, cfg.Names...)...)
	if err != nil {
		return err
	}
	s.Store = tunnels.New(tunnels.Config{
		Region: cfg.Region, Account: cfg.Account, Now: cfg.Now, MaxTunnels: cfg.MaxTunnels, Behaviour: cfg.Behaviour,
	})
	s.document.Store(&cfg.Policy)
	s.Registry = registry.New(registry.Config{
		NoFleetIndex: cfg.NoFleetIndex, Connected: s.connected,
		CA: s.CA, Region: cfg.Region, Account: cfg.Account, Endpoint: func() string { return s.MQTT }, Things: cfg.Things,
		Policy:        func() []byte { return *s.document.Load() },
		CheckPolicy:   func(document []byte) error { _, err := broker.ParsePolicy(document); return err },
		AllowUnsigned: cfg.AllowUnsigned, Logger: s.log,
	})
	if err := cfg.DataPlane.Validate(); err != nil {
		return err
	}
	s.DataPlane = dataplane.New(dataplane.Config{
		Broker: func() *broker.Broker { return s.Broker }, Region: cfg.Region, AllowUnsigned: cfg.AllowUnsigned,
		Behaviour: cfg.DataPlane, Logger: s.log,
	})
	if err := s.startBroker(cert); err != nil {
		return err
	}
	s.notifier = newNotifier(s.publish, cfg.Notifications, s.log)
	s.Store.OnNotify(s.notifier.notify)

	s.API = api.New(api.Config{
		Store: s.Store, AllowUnsigned: cfg.AllowUnsigned, MaxServices: cfg.MaxServices, Behaviour: cfg.API, Now: cfg.Now, Logger: s.log,
	})
	cfg.Relay.Store, cfg.Relay.Logger = s.Store, s.log
	s.Relay = relay.New(cfg.Relay)

	var port int
	if port, err = s.serve("control API", cfg.Listen, cfg.Ports.API, http.HandlerFunc(s.control), nil); err != nil {
		return err
	}
	s.APIURL = "http://" + s.advertised(port)
	// The data endpoint speaks HTTP/1.1: a websocket begins with its Upgrade.
	overTLS := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	if port, err = s.serve("data endpoint", cfg.Listen, cfg.Ports.Relay, s.Relay, overTLS); err != nil {
		return err
	}
	s.RelayURL = "wss://" + s.advertised(port)
	if port, err = s.serve("admin endpoint", "127.0.0.1", cfg.Ports.Admin, s.admin(), nil); err != nil {
		return err
	}
	s.AdminURL = fmt.Sprintf("http://127.0.0.1:%d", port)
	for _, thing := range cfg.Things {
		if _, err := s.Device(thing); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sandbox) startBroker(cert tls.Certificate) (err error) {
	cfg := s.cfg
	if cfg.PublishVia != nil {
		s.MQTT = cfg.MQTTEndpoint
		return nil
	}
	if s.policy, err = broker.ParsePolicy(cfg.Policy); err != nil {
		return err
	}
	s.Broker, err = broker.Start(broker.Config{
		Listen: joinPort(cfg.Listen, cfg.Ports.MQTT), ListenALPN: joinPort(cfg.Listen, cfg.Ports.MQTTALPN),
		Certificate: cert, ClientCAs: s.CA.Pool(), Thing: s.thingOf, PolicyOf: s.policyOf, RequireSNI: cfg.RequireSNI,
		HTTP:   s.DataPlane,
		Policy: s.policy, SessionExpiry: cfg.SessionExpiry, Behaviour: cfg.MQTT, Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.MQTT, s.MQTTALPN = s.advertised(portOf(s.Broker.Addr())), s.advertised(portOf(s.Broker.ALPNAddr()))
	return nil
}

// control answers all control APIs, as one address stands for all of AWS.
func (s *Sandbox) control(w http.ResponseWriter, r *http.Request) {
	switch {
	case registry.Mine(r):
		s.Registry.ServeHTTP(w, r)
	case dataplane.Mine(r):
		s.DataPlane.ServeHTTP(w, r)
	default:
		s.API.ServeHTTP(w, r)
	}
}

// connected reports whether an MQTT client is connected to the embedded broker.
func (s *Sandbox) connected(clientID string) bool {
	if s.Broker == nil {
		return false
	}
	c, ok := s.Broker.Connection(clientID)
	return ok && c.Connected
}

// thingOf asks the registry for the certificates that it made. All others name their thing themselves.
func (s *Sandbox) thingOf(cert *x509.Certificate) (string, error) {
	if thing, known, err := s.Registry.Thing(cert); known {
		return thing, err
	}
	return pki.Thing(cert)
}

// policyOf is what is attached to a certificate of the registry.
func (s *Sandbox) policyOf(cert *x509.Certificate) (broker.Policy, bool) {
	documents, known := s.Registry.Policies(cert)
	policies := make([]broker.Policy, 0, len(documents))
	for _, d := range documents {
		if p, err := broker.ParsePolicy(d); err == nil { // it was checked when it was created
			policies = append(policies, p)
		}
	}
	return broker.Join(policies...), known
}

// publish hands a message to whichever broker there is.
func (s *Sandbox) publish(topic string, payload []byte, qos byte) (broker.Delivery, error) {
	if s.cfg.PublishVia != nil {
		return broker.Delivery{Sent: 1}, s.cfg.PublishVia(topic, payload, qos) // who receives it, is not known here
	}
	return s.Broker.Publish(topic, payload, qos)
}

// serve answers HTTP on a port until Close, and returns the port.
func (s *Sandbox) serve(what, host string, port int, h http.Handler, cfg *tls.Config) (int, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", joinPort(host, port))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	port = portOf(l.Addr().String())
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(s.log.With("endpoint", what).Handler(), slog.LevelWarn),
	}
	s.servers = append(s.servers, server)
	s.tasks.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("listener failed", "endpoint", what, "error", err)
		}
	})
	return port, nil
}

// Close ends everything and waits for it, some 2 s at most. More than one call does no harm.
func (s *Sandbox) Close() error {
	s.closing.Do(func() {
		var errs []error
		if s.Relay != nil {
			s.Relay.Close()
		}
		for _, server := range s.servers {
			errs = append(errs, server.Close())
		}
		if s.notifier != nil {
			s.notifier.close()
		}
		if s.Broker != nil {
			errs = append(errs, s.Broker.Close())
		}
		s.tasks.Wait()
		for _, dir := range s.tempDirs {
			errs = append(errs, os.RemoveAll(dir))
		}
		if s.lock != nil {
			errs = append(errs, s.lock.Close())
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}

func (s *Sandbox) advertised(port int) string { return joinPort(s.cfg.Advertise, port) }

func joinPort(host string, port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }

// portOf takes the port of an address that was listened on.
func portOf(address string) (port int) {
	_, text, _ := net.SplitHostPort(address)
	_, _ = fmt.Sscan(text, &port)
	return port
}
