package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/cmd/culvert/fleet"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
)

// sandboxOptions are the flags of the sandbox command: most are fields of its configuration.
type sandboxOptions struct {
	cfg      sandbox.Config
	json     bool
	shell    bool
	logLevel slog.Level
	services []string
	policy   string
	connack  uint8
	cutting  string
	pongs    string
	endings  []string
	notifyIn time.Duration
	repeat   time.Duration

	things, running int // of a fleet
	devices         []string
}

type section struct {
	title string
	flags *pflag.FlagSet
}

// sections binds the flags, in the order in which --help shows them.
func (o *sandboxOptions) sections() (all []section) {
	c := &o.cfg
	begin := func(title string) *pflag.FlagSet {
		f := pflag.NewFlagSet(title, pflag.ContinueOnError)
		f.SortFlags = false
		all = append(all, section{title, f})
		return f
	}

	f := begin("Where it is")
	f.StringVar(&c.Dir, "dir", "", "`directory` for certificates and culvertd.toml, kept between runs (default a temporary one)")
	f.StringVar(&c.Listen, "listen", "127.0.0.1", "`address` to listen on; the admin endpoint is always on 127.0.0.1")
	f.StringVar(&c.Advertise, "advertise", "", "`host` that URLs and files name (default --listen)")
	f.StringArrayVar(&c.Names, "name", nil, "one more `host` for the server certificates")
	f.IntVar(&c.Ports.API, "port-api", 0, "`port` of the control API (default any)")
	f.IntVar(&c.Ports.Relay, "port-relay", 0, "`port` of the data endpoint (default any)")
	f.IntVar(&c.Ports.MQTT, "port-mqtt", 0, "`port` that stands for 8883 (default any)")
	f.IntVar(&c.Ports.MQTTALPN, "port-mqtt-alpn", 0, "`port` that stands for 443, with ALPN (default any)")
	f.IntVar(&c.Ports.Admin, "port-admin", 0, "`port` of the admin endpoint (default any)")
	f.BoolVar(&o.json, "json", false, "print addresses and files as one line of JSON instead of advice")
	f.BoolVar(&o.shell, "shell", false, "open a shell whose environment leads to the sandbox, and end with it")
	f.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "`level` of the log on standard error: debug, info, warn, error (with --device or --things: warn, with --shell: error)")

	f = begin("What it holds")
	f.StringVar(&c.Region, "region", "eu-west-1", "AWS `region` to stand for")
	f.StringVar(&c.Account, "account", "123456789012", "AWS account `number`")
	f.StringArrayVar(&c.Things, "thing", []string{"pi-1"}, "`name` of a thing; repeat it for more")
	f.StringArrayVar(&o.services, "service", []string{"SSH=22", "HTTP=8080"}, "`NAME=ADDRESS` in the written configuration; repeat it for more")
	f.IntVar(&c.MaxTunnels, "max-tunnels", 0, "`number` of open tunnels (default no limit)")
	f.IntVar(&c.MaxServices, "max-services", 3, "`number` of services in a tunnel")

	f = begin("Devices that run in this process")
	f.StringArrayVar(&o.devices, "device", nil, "`name` of a thing whose device runs; repeat it for more")
	f.IntVar(&o.things, "things", 0, "`number` of things of a fleet, most of whose devices run")
	f.IntVar(&o.running, "running", -1, "`number` of the fleet's devices that run (default nine of ten)")

	f = begin("Tokens and rotation: answers that AWS's documents leave open")
	b := &c.Behaviour
	f.BoolVar(&b.RotationKeepsConnection, "rotation-keeps-connection", false, "a rotated token's websocket stands until another takes its place")
	f.BoolVar(&b.RotationNotifiesWithoutConfig, "rotation-notifies-without-config", false, "rotating the destination always notifies the thing")
	f.DurationVar(&b.OldTokenWorks, "old-token-works", 0, "a rotated token can be used for this `time` more")
	f.BoolVar(&b.RotationChangesServices, "rotation-changes-services", false, "a rotation's services become the tunnel's")
	f.BoolVar(&b.RotateBeforeConnectFails, "rotate-before-connect-fails", false, "refuse to rotate before an end has connected")
	f.BoolVar(&b.ClientTokenSurvivesRotation, "client-token-survives-rotation", false, "take a rotated token's client token with the next token")
	f.BoolVar(&b.SamePairWaits, "same-pair-waits", false, "refuse a pair of tokens while its old connection stands")
	f.IntVar(&b.RefusalStatus, "refusal-status", 400, "HTTP `status` of refused handshakes")
	f.BoolVar(&b.RefusalWithoutBody, "refusal-without-body", false, "refuse handshakes with an empty body")
	f.BoolVar(&b.RefusalReasonHeader, "refusal-reason-header", false, "tell the reason in the header X-Status-Reason")

	f = begin("Data endpoint")
	f.StringVar(&o.cutting, "cutting", "awkward", "`how` to make websocket messages of frames: awkward (cut and merged at random), straight, aligned")
	f.Uint64Var(&c.Relay.Seed, "seed", 0, "`number` that makes awkward cuts repeatable (default a new one)")
	f.StringVar(&o.pongs, "pongs", "after-source", "`which` pings are answered: after-source (a destination's only once a source was there), always, never")
	f.DurationVar(&c.Relay.IdleTimeout, "idle-timeout", time.Minute, "`time` without message and ping after which a websocket is dropped")
	f.StringArrayVar(&o.endings, "ending", nil, "how websockets end, `CODE[:REASON]`, none (a close frame without code) or bare (no close frame);\n"+
		"repeat it to have several in turn (default one for each cause)")
	f.BoolVar(&c.Relay.DropsEmptyData, "drop-empty-data", false, "drop DATA messages without a payload: two Culverts then speak plain V3")
	f.BoolVar(&c.Relay.MixesConnections, "mix-connections", false, "let messages of different connections overtake each other")
	f.BoolVar(&c.Relay.AddServiceToV1, "add-service-to-v1", false, "name the only service in messages of a source that names none")

	f = begin("Notifications and MQTT")
	f.BoolVar(&c.Notifications.QoS0, "notify-qos0", false, "publish notifications at QoS 0: nothing waits for absent devices")
	f.DurationVar(&o.notifyIn, "notify-delay", 0, "`time` before a notification is published")
	f.DurationVar(&o.repeat, "notify-repeat", 0, "publish each notification again, after this `time` (default not again)")
	f.StringVar(&o.policy, "policy", "", "AWS IoT policy document in a `file` (default what tunnels need, and no more)")
	f.Uint8Var(&o.connack, "connack-code", 0, "answer a denied CONNECT with this `code` before the drop; AWS's documents name 7 (default no answer)")
	f.BoolVar(&c.MQTT.SubackFailure, "suback-failure", false, "answer a denied SUBSCRIBE with 0x80 instead of a drop")
	f.DurationVar(&c.SessionExpiry, "session-expiry", time.Hour, "`time` that an absent device's MQTT session is kept")
	f.BoolVar(&c.RequireSNI, "require-sni", false, "drop MQTT clients that name no server in TLS")

	f = begin("Connected clients: GetConnection and its siblings")
	f.BoolVar(&c.NoFleetIndex, "no-fleet-index", false, "the account has no fleet indexing: SearchIndex fails")
	f.StringArrayVar(&c.DataPlane.Denied, "deny", nil, "refuse this `operation`, such as SendDirectMessage; SocketInformation for the addresses; repeat it for more")
	f.BoolVar(&c.DataPlane.Throttled, "throttle-data-plane", false, "refuse all of these calls with ThrottlingException")
	f.BoolVar(&c.DataPlane.UnknownIsDisconnected, "unknown-is-disconnected", false, "a client id that never connected is not connected, rather than not found")
	f.BoolVar(&c.MQTT.DirectByThingName, "direct-by-thing-name", false, "deliver direct messages only to a client whose id is its thing's name")

	f = begin("Control API")
	f.BoolVar(&c.AllowUnsigned, "allow-unsigned", false, "take calls without a signature")
	f.IntVar(&c.API.ErrorStatus, "api-error-status", 400, "HTTP `status` of the API's own errors; 403 is known, too")
	f.BoolVar(&c.API.QualifiedTypes, "qualified-errors", false, "write name spaces around the types of errors")
	return all
}

// config makes the configuration of the flags.
func (o *sandboxOptions) config(cmd *cobra.Command) (sandbox.Config, error) {
	c := o.cfg
	c.Services = map[string]string{}
	for _, s := range o.services {
		name, address, ok := strings.Cut(s, "=")
		if !ok {
			return c, usagef(cmd, "--service %s: write NAME=ADDRESS, as in SSH=22", s)
		}
		c.Services[name] = address
	}
	cuttings := map[string]relay.Cutting{"awkward": relay.Awkward, "straight": relay.Straight, "aligned": relay.Aligned}
	pongs := map[string]relay.PongPolicy{"after-source": relay.PongsAfterSource, "always": relay.PongsAlways, "never": relay.PongsNever}
	var ok bool
	if c.Relay.Cutting, ok = cuttings[o.cutting]; !ok {
		return c, usagef(cmd, "--cutting %s: it is awkward, straight or aligned", o.cutting)
	}
	if c.Relay.Pongs, ok = pongs[o.pongs]; !ok {
		return c, usagef(cmd, "--pongs %s: it is after-source, always or never", o.pongs)
	}
	for _, e := range o.endings {
		ending, err := parseEnding(e)
		if err != nil {
			return c, usagef(cmd, "--ending %s: %w", e, err)
		}
		c.Relay.Endings = append(c.Relay.Endings, ending)
	}
	for flag, status := range map[string]int{"refusal-status": c.Behaviour.RefusalStatus, "api-error-status": c.API.ErrorStatus} {
		if status < 400 || status > 599 {
			return c, usagef(cmd, "--%s %d: an HTTP status from 400 to 599 is needed", flag, status)
		}
	}
	if err := c.DataPlane.Validate(); err != nil {
		return c, usagef(cmd, "--deny: %w", err)
	}
	if o.notifyIn < 0 || c.SessionExpiry < time.Second || c.Relay.IdleTimeout <= 0 {
		return c, usagef(cmd, "times cannot be negative, --idle-timeout not 0 and --session-expiry not less than 1s")
	}
	if err := o.checkFleet(); err != nil {
		return c, usagef(cmd, "%w", err)
	}
	for i, name := range o.devices {
		if err := validThing(name); err != nil {
			return c, usagef(cmd, "--device: %w", err)
		}
		if slices.Contains(o.devices[:i], name) {
			return c, usagef(cmd, "--device %s is given twice", name)
		}
	}
	switch { // a sandbox needs at least one
	case cmd.Flags().Changed("thing"):
	case len(o.devices) > 0:
		c.Things = slices.Clone(o.devices)
	case o.things > 0:
		c.Things = []string{fleet.Name(1)}
	}
	c.Notifications.Delay = o.notifyIn
	if cmd.Flags().Changed("notify-repeat") {
		if o.repeat < 0 {
			return c, usagef(cmd, "--notify-repeat: times cannot be negative")
		}
		c.Notifications.Repeat, c.Notifications.RepeatAfter = true, o.repeat
	}
	c.MQTT.ConnackCode = o.connack
	if o.policy != "" {
		var err error
		if c.Policy, err = os.ReadFile(o.policy); err != nil {
			return c, usagef(cmd, "--policy: %w", err)
		}
	}
	return c, nil
}

func parseEnding(s string) (relay.Ending, error) {
	switch s {
	case "none":
		return relay.Ending{}, nil
	case "bare":
		return relay.Ending{Bare: true}, nil
	}
	number, reason, _ := strings.Cut(s, ":")
	code, err := strconv.Atoi(number)
	switch {
	case err != nil || code < 1000 || code > 4999 || code == 1005 || code == 1006 || code == 1015:
		return relay.Ending{}, errors.New("write a close code from 1000 to 4999 that may be sent, none or bare")
	case len(reason) > 123:
		return relay.Ending{}, fmt.Errorf("the reason has %d bytes, 123 fit into a close frame", len(reason))
	}
	return relay.Ending{Code: code, Reason: reason}, nil
}
