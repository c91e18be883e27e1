package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiot "github.com/aws/aws-sdk-go-v2/service/iot"
	awstypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/operator"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/presence"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
)

// API is what is needed of the control API; *iotsecuretunneling.Client has it.
type API interface {
	ListTunnels(context.Context, *iot.ListTunnelsInput, ...func(*iot.Options)) (*iot.ListTunnelsOutput, error)
	DescribeTunnel(context.Context, *iot.DescribeTunnelInput, ...func(*iot.Options)) (*iot.DescribeTunnelOutput, error)
	OpenTunnel(context.Context, *iot.OpenTunnelInput, ...func(*iot.Options)) (*iot.OpenTunnelOutput, error)
	RotateTunnelAccessToken(context.Context, *iot.RotateTunnelAccessTokenInput, ...func(*iot.Options)) (*iot.RotateTunnelAccessTokenOutput, error)
	CloseTunnel(context.Context, *iot.CloseTunnelInput, ...func(*iot.Options)) (*iot.CloseTunnelOutput, error)
}

// DestinationType is which version of the tunnel protocol the device's side speaks.
type DestinationType string

// The types. Culvert's own daemon takes all of them; the AWS IoT Device Client and the Greengrass component know V1.
const (
	Auto DestinationType = "auto" // V3, or V1 if that is all the device understands; see Config
	V1   DestinationType = "V1"
	V2   DestinationType = "V2"
	V3   DestinationType = "V3"
)

// Defaults of the durations in Config.
const (
	DefaultWait = 60 * time.Second

	// maxLifetime is the service's limit and default of a tunnel's life (API reference).
	maxLifetime = 720 * time.Minute
	// MinLeft is how long an open tunnel must still live to be worth reusing.
	MinLeft = 5 * time.Minute
)

// Config says how to reach things. API, and Region or DataEndpoint, are required; FromAWS fills them in.
type Config struct {
	API    API
	Region string // its data endpoint is the one to connect to

	// DataEndpoint overrides the region's: wss://host[:port].
	DataEndpoint string
	// TLS is for the data endpoint; nil means the system's roots.
	TLS *tls.Config
	// NetDial opens the TCP connection to the data endpoint; nil goes through the environment's web proxy, if any.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)

	// Lifetime is that of a tunnel that has to be opened, in whole minutes up to 12 hours, which 0 means.
	Lifetime time.Duration
	// Wait bounds the time until the device is connected and this side, too; 0 means 60 s.
	Wait time.Duration

	// Destination is how the device is spoken to; "" means Auto. V1 and V2 carry one connection a service at a time,
	// and V1 needs a tunnel with exactly one service.
	//
	// Auto begins with V3. It changes to V1 when two starts in a row, without a byte of the client's, each made
	// the device drop its websocket, as the AWS IoT Device Client and others do with what they do not understand;
	// and back when the device reconnects. Until the device has sent a byte, a client that speaks first waits
	// up to a second.
	Destination DestinationType

	// ResumeTimeout is how long a connection is kept when its tunnel is lost, until the device has it again; 0 means
	// [proxy.DefaultResumeTimeout], less than 0 keeps none.
	ResumeTimeout time.Duration

	// Also lists further services that the thing is known to have. A new tunnel names them, too, up to three in all,
	// since opening fixes its services. Name only services of a device that runs Culvert: a V1 device takes one service
	// a tunnel.
	Also []string

	New      bool // always open a tunnel
	TakeOver bool // at the start, reuse a tunnel even if another source is connected to it, which ends that session
	Keep     bool // leave a tunnel open that was opened here, and throw its source token away

	// Opened, if set, is called with the id of each tunnel that was opened, which AWS charges for: also of one that follows another
	// one, or that was opened in vain.
	Opened func(tunnel string)

	// Price is what one tunnel costs, for a person to read before it is opened; "" says that it costs something.
	Price string

	// ThingExists, if set, reports whether the account has the thing, so that no tunnel is paid for in vain. An
	// error, as of a caller who may not ask, leaves the question open.
	ThingExists func(ctx context.Context, thing string) (bool, error)

	// Presence, if set, returns the state of the MQTT connection of the thing's agent. A device that is away for more
	// than a minute is an error before a tunnel is opened or rotated. An error, an agent that was never connected, or
	// an answer that comes too late leaves the question open.
	Presence func(ctx context.Context, thing string) (presence.State, error)
	// WaitForAway waits up to Wait for a device that is away, instead.
	WaitForAway bool

	// Progress, if set, is called with each event, one call at a time.
	Progress func(Event)
	// Logger gets what happens to connections; nil discards it.
	Logger *slog.Logger

	fips bool                              // the control API has FIPS hosts
	lead func(time.Duration) time.Duration // see watchExpiry; tests set it
}

// FromAWS returns a Config that calls AWS as cfg says, and trusts the data endpoint as cfg trusts the control API.
func FromAWS(cfg aws.Config) Config {
	client := iot.NewFromConfig(cfg)
	things := awsiot.NewFromConfig(cfg, func(o *awsiot.Options) { o.RetryMaxAttempts = 1 })
	return Config{
		API: client, Region: cfg.Region, TLS: operator.TLSConfig(cfg), fips: client.Options().EndpointOptions.FIPS,
		ThingExists: func(ctx context.Context, thing string) (bool, error) {
			_, err := things.DescribeThing(ctx, &awsiot.DescribeThingInput{ThingName: &thing})
			if _, missing := errors.AsType[*awstypes.ResourceNotFoundException](err); missing {
				return false, nil
			}
			return true, err
		},
	}
}

// Kind is what an Event is about.
type Kind int

// The kinds of events.
const (
	Step           Kind = iota // a step begins that may take a while
	Done                       // the last step is over
	Notice                     // worth knowing, also later
	Advice                     // what is probably wrong; the step goes on
	Detached                   // the link is lost, and Connections wait for another one; a Step
	Resumed                    // a link is back, and Connections go on; a Done
	Reopened                   // connections go on over another tunnel, Tunnel, since theirs was closed or ends soon
	DeviceLeft                 // the device has left the tunnel
	DeviceBack                 // it is back; a Done
	ServiceMissing             // Service has ended a connection without a byte, as one that is missing does, or the device says that it is down
)

// Event is one thing that happens, in words for a person. It never holds a token.
type Event struct {
	Kind Kind
	Text string // one line, no full stop

	Tunnel      string `json:",omitempty"` // its id
	Service     string `json:",omitempty"`
	Connections int    `json:",omitempty"`
}

// Check reports what is wrong with the configuration, or with the names of the thing and the services. [Open] does the same.
func (c Config) Check(thing string, services []string) error { return c.check(thing, services) }

func (c *Config) check(thing string, wanted []string) error {
	if !services.ValidName(thing) {
		e := &Error{Reason: BadRequest, Text: fmt.Sprintf("%q cannot be the name of a thing: 1 to 128 of a-z, A-Z, 0-9, :, _ and - are allowed", thing)}
		switch {
		case strings.Contains(thing, "="):
			e.hint = "the thing comes before its services, as in: culvert connect my-pi SSH=2222"
		case strings.Contains(thing, "."):
			e.hint = "give the thing's name in AWS IoT, not an address; culvert ls lists the things that exist"
		}
		return e
	}
	if len(wanted) == 0 {
		return usage("no service is named")
	}
	for _, s := range wanted {
		if !services.ValidName(s) {
			return usage("%q cannot be the name of a service: 1 to 128 of a-z, A-Z, 0-9, :, _ and - are allowed", s)
		}
	}
	if c.Lifetime != 0 && (c.Lifetime < time.Minute || c.Lifetime > maxLifetime || c.Lifetime%time.Minute != 0) {
		return usage("a tunnel cannot live for %v: whole minutes from 1m to 12h are allowed", c.Lifetime)
	}
	switch c.Destination {
	case "":
		c.Destination = Auto
	case Auto, V1, V2, V3:
	default:
		return usage("there is no destination client type %q: auto, V1, V2 and V3 are known", string(c.Destination))
	}
	if c.Destination == V1 && len(wanted) > 1 {
		return usage("a V1 destination serves one service a tunnel, and %d are asked for", len(wanted))
	}
	if c.ResumeTimeout == 0 {
		c.ResumeTimeout = proxy.DefaultResumeTimeout
	}
	if c.lead == nil {
		c.lead = leadOf
	}
	if c.Wait <= 0 {
		c.Wait = DefaultWait
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var telling sync.Mutex
	progress := c.Progress
	c.Progress = func(e Event) {
		telling.Lock()
		defer telling.Unlock()
		if progress != nil {
			progress(e)
		}
	}
	if c.NetDial == nil {
		c.NetDial = netdial.FromEnvironment().DialContext
	}
	if c.DataEndpoint == "" {
		if c.Region == "" {
			return &aws.MissingRegionError{}
		}
		if c.fips {
			return usage("FIPS endpoints are asked for, and none is known for data: name the data endpoint")
		}
		host, err := endpoints.Data(c.Region)
		if err != nil {
			return fmt.Errorf("data endpoint: %w", err)
		}
		c.DataEndpoint = "wss://" + host
	}
	if err := (proxy.Connection{Endpoint: c.DataEndpoint}).CheckEndpoint(); err != nil {
		return usage("%v", err) // before a tunnel is opened, which costs money
	}
	return nil
}

func (c *Config) step(format string, args ...any)   { c.tell(Step, format, args) }
func (c *Config) notice(format string, args ...any) { c.tell(Notice, format, args) }
func (c *Config) advise(format string, args ...any) { c.tell(Advice, format, args) }

func (c *Config) tell(k Kind, format string, args []any) {
	c.Progress(Event{Kind: k, Text: clean.Line(fmt.Sprintf(format, args...), 0)})
}

// SilentService is the event of a service that has ended a connection without a byte.
func SilentService(thing, service string) Event {
	return Event{
		Kind: ServiceMissing, Service: service,
		Text: service + " on " + thing + " ended the connection without a byte: if it should have answered, see culvertd status on the device",
	}
}
