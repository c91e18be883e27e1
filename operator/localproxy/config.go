package localproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
)

// Mode is the side of the tunnel.
type Mode string

// The two sides, in the words of the websocket protocol guide.
const (
	Source      Mode = "source"
	Destination Mode = "destination"
)

// Config is what Run needs. Load makes one.
type Config struct {
	Mode        Mode
	Endpoint    string // wss://host[:port] or ws://…
	AccessToken secret.Value
	ClientToken secret.Value // none: Run makes one
	Form        proxy.Form   // of a source's messages
	// Mappings are a source's listeners or a destination's targets. One without a service serves the tunnel's
	// only one.
	Mappings []Mapping
	BindHost string // where a source listens for services that have no mapping
	Settings Settings
	TLS      *tls.Config
	// ResumeTimeout is how long connections to another Culvert outlive their websocket; 0 keeps none.
	ResumeTimeout time.Duration
	// NetDial opens the TCP connection to the endpoint; nil dials directly.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)
	// Verbose is how much Run logs: 0 nothing, 1 fatal, 2 error, 3 warning, 4 info, 5 debug, 6 trace.
	Verbose int
	// Warnings are about the options; Run logs them first.
	Warnings []string
}

// Load makes a Config of the command line's values, the --config file that they may name, and the environment.
// Flags win over the file, and the file over the environment. Its errors are *UsageError; none repeats a token.
func Load(flags Values, getenv func(string) string) (*Config, error) {
	var file Values
	if path := flags[optConfig]; path != "" {
		var err error
		if file, err = readConfigFile(path); err != nil {
			return nil, err
		}
	}
	l := &loader{options: merge(flags, file, getenv)}
	l.cfg.Settings = defaultSettings()
	for _, step := range []func() error{l.verbosity, l.settings, l.tokens, l.endpoint, l.mode, l.mappings, l.network, l.resumption} {
		if err := step(); err != nil {
			if _, ok := errors.AsType[*UsageError](err); !ok {
				err = &UsageError{err}
			}
			return nil, err
		}
	}
	return &l.cfg, nil
}

type loader struct {
	options
	cfg Config
}

func (l *loader) warn(text string) { l.cfg.Warnings = append(l.cfg.Warnings, text) }

func (l *loader) verbosity() error {
	text := l.get(optVerbose)
	if text == "" {
		text = defaultVerbose
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return usagef("%s %s: write a level from 0 (nothing) to 6 (trace)", l.show(optVerbose), text)
	}
	l.cfg.Verbose = min(int(n), levelTrace)
	return nil
}

func (l *loader) settings() (err error) {
	if path := l.get(optSettings); path != "" {
		l.cfg.Settings, err = readSettings(path, l.warn)
	}
	return err
}

// resumption reads the resume time-out.
func (l *loader) resumption() (err error) {
	l.cfg.ResumeTimeout = proxy.DefaultResumeTimeout
	if text := l.get(optResume); text != "" {
		if l.cfg.ResumeTimeout, err = time.ParseDuration(text); err != nil || l.cfg.ResumeTimeout < 0 || l.cfg.ResumeTimeout > proxy.MaxResumeTimeout {
			return usagef("%s %s: write a time such as 90s or 1h, 24h at most, or 0", l.show(optResume), text)
		}
	}
	return nil
}

var clientTokenForm = regexp.MustCompile(`^[a-zA-Z0-9-]{32,128}$`)

// tokens checks only the form of the tokens, and shows none.
func (l *loader) tokens() error {
	access, client := l.get(optAccessToken), l.get(optClientToken)
	switch {
	case access == "":
		return usagef("there is no access token: put it into the environment as %s, into a --config file, or give it with -t", accessTokenEnv)
	case len(access) > maxAccessToken:
		return usagef("%s: it has %d characters, a token has at most %d", l.show(optAccessToken), len(access), maxAccessToken)
	case strings.ContainsFunc(access, func(r rune) bool { return r <= ' ' || r > '~' }):
		return usagef("%s: it has spaces, line ends or other characters that no token has: copy it again", l.show(optAccessToken))
	case client != "" && !clientTokenForm.MatchString(client):
		return usagef("%s: a client token has 32 to 128 letters, digits and hyphens, as a UUID does", l.show(optClientToken))
	}
	for _, name := range []string{optAccessToken, optClientToken} {
		if l.has(name) && l.options[name].from == fromFlag {
			l.warn(fmt.Sprintf("the %s is on the command line, where every user of this machine can read it: use the environment variable %s",
				strings.ReplaceAll(name, "-", " "), environment[name]))
		}
	}
	l.cfg.AccessToken, l.cfg.ClientToken = secret.New(access), secret.New(client)
	return nil
}

func (l *loader) endpoint() (err error) {
	region, endpoint := l.get(optRegion), l.get(optEndpoint)
	switch {
	case region == "" && endpoint == "":
		return usagef("neither a region (-r) nor an endpoint (-e) is given: name one of them")
	case region != "" && endpoint != "":
		return usagef("%s and %s exclude each other: leave one out", l.show(optRegion), l.show(optEndpoint))
	case endpoint != "":
		if l.cfg.Endpoint, err = parseEndpoint(endpoint); err != nil {
			return usagef("%s: %w", l.show(optEndpoint), err)
		}
		if strings.HasPrefix(l.cfg.Endpoint, "ws://") {
			l.warn("the endpoint has no TLS (ws://): everyone on the way can read the token and the tunnel")
		}
		return nil
	}
	host, err := endpoints.Data(region)
	if err != nil {
		return usagef("%s: %w", l.show(optRegion), err)
	}
	if format := l.cfg.Settings.EndpointFormat; format != "" {
		host = strings.Replace(format, "%s", region, 1)
	}
	if override := l.cfg.Settings.RegionEndpoints[region]; override != "" {
		host = override
	}
	if l.cfg.Endpoint, err = parseEndpoint(host); err != nil {
		return usagef("the endpoint of region %s by the settings: %w", region, err)
	}
	return nil
}

// parseEndpoint reads host[:port], an IPv6 address with or without brackets, or a ws:// or wss:// URL.
func parseEndpoint(s string) (string, error) {
	const form = "write host, host:port or wss://host:port"
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		u, err := url.Parse(s)
		switch scheme = strings.ToLower(scheme); {
		case err != nil:
			return "", errors.New("it is no URL: " + form)
		case scheme != "ws" && scheme != "wss":
			return "", fmt.Errorf("a tunnel's endpoint has no %s:// URL: %s", scheme, form)
		case u.User != nil:
			return "", errors.New("it carries a user name: " + form)
		}
		if err := checkEndpointHost(u.Hostname(), u.Port()); err != nil {
			return "", err
		}
		return u.String(), nil
	}
	host, port := strings.ToLower(s), "443"
	if _, err := netip.ParseAddr(host); err != nil {
		if bare, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(bare, "]") {
			host = strings.TrimSuffix(bare, "]")
		} else if strings.Contains(host, ":") {
			if host, port, err = net.SplitHostPort(host); err != nil {
				return "", fmt.Errorf("%q: %s", s, form)
			}
			if port == "" {
				return "", fmt.Errorf("%q: no port follows the colon: %s", s, form)
			}
		}
	}
	if err := checkEndpointHost(host, port); err != nil {
		return "", err
	}
	return "wss://" + net.JoinHostPort(host, port), nil
}

func checkEndpointHost(host, port string) error {
	if err := services.CheckHost(host); err != nil {
		return err
	}
	if port == "" {
		return nil
	}
	_, err := services.ParsePort(port)
	return err
}

var modes = map[string]Mode{"src": Source, "source": Source, "dst": Destination, "destination": Destination}

func (l *loader) mode() error {
	named, ok := modes[l.get(optMode)]
	switch {
	case l.has(optMode) && !ok:
		return usagef("%s %s: write source (src) or destination (dst)", l.show(optMode), l.get(optMode))
	case l.has(optSource) && l.has(optDestination):
		return usagef("-s and -d exclude each other: one process is one side of a tunnel")
	case l.has(optSource):
		l.cfg.Mode = Source
	case l.has(optDestination):
		l.cfg.Mode = Destination
	case !ok:
		return usagef("which side of the tunnel is this? give -s PORT, -d TARGET or -m MODE")
	default:
		l.cfg.Mode = named
	}
	if ok && named != l.cfg.Mode {
		return usagef("%s %s contradicts %s: leave one out", l.show(optMode), named, map[Mode]string{Source: "-s", Destination: "-d"}[l.cfg.Mode])
	}
	l.cfg.Form = proxy.V3
	switch version := l.get(optClientType); {
	case l.cfg.Mode == Destination && version != "":
		l.warn("a destination needs no -y: it tells older sources by what they send")
	case version == "V1":
		l.cfg.Form = proxy.V1
	case version == "V2":
		l.cfg.Form = proxy.V2
	case version != "" && version != "V3":
		l.warn(fmt.Sprintf("there is no destination client type %q: V3 is spoken", version))
	}
	return nil
}

func (l *loader) mappings() error {
	host := l.cfg.Settings.BindAddress
	if l.has(optBind) {
		var err error
		if host, err = bindHost(l.get(optBind)); err != nil {
			return usagef("%s: %w", l.show(optBind), err)
		}
	}
	l.cfg.BindHost = listenHost(host)
	option := optSource
	resolve := func(p pair) (Mapping, error) { return listenAddress(p, l.cfg.BindHost) }
	if l.cfg.Mode == Destination {
		option = optDestination
		resolve = func(p pair) (Mapping, error) { return target(p, host) }
	}
	if !l.has(option) {
		return l.directory(resolve)
	}
	if l.has(optConfigDir) {
		l.warn("--config-dir has no effect beside -s or -d")
	}
	pairs, again, err := splitMappings(l.get(option))
	if err != nil {
		return usagef("%s: %w", l.show(option), err)
	}
	for _, id := range again {
		l.warn(fmt.Sprintf("service %s has several endpoints: the first one counts", id))
	}
	for _, p := range pairs {
		m, err := resolve(p)
		if err != nil {
			return usagef("%s: %w", l.show(option), err)
		}
		l.cfg.Mappings = append(l.cfg.Mappings, m)
	}
	return nil
}

// directory reads mappings from --config-dir, or from ./config where that exists.
func (l *loader) directory(resolve func(pair) (Mapping, error)) error {
	dir, asked := l.get(optConfigDir), l.has(optConfigDir)
	skipped := l.warn
	if !asked {
		// A directory of that name may have another purpose.
		dir, skipped = defaultDir, func(string) {}
	}
	if ok, err := isDirectory(dir); asked && err != nil {
		return usagef("%s: %w", l.show(optConfigDir), err)
	} else if asked && !ok {
		return usagef("%s: %s is not a directory", l.show(optConfigDir), dir)
	} else if ok {
		pairs, err := readMappings(dir, skipped)
		if err != nil {
			return usagef("%s: %w", dir, err)
		}
		for _, p := range pairs {
			m, err := resolve(p)
			if err != nil {
				skipped(fmt.Sprintf("%s: service %s: %v", dir, p.service, err))
				continue
			}
			l.cfg.Mappings = append(l.cfg.Mappings, m)
		}
	}
	if l.cfg.Mode == Destination && len(l.cfg.Mappings) == 0 {
		return usagef("no target is known: give -d [ID=]TARGET, or --config-dir with files of \"ID = TARGET\" lines")
	}
	return nil
}

func (l *loader) network() error {
	capath := l.get(optCAPath)
	roots, err := tlsConfig(capath, l.has(optNoVerify))
	if err != nil {
		return usagef("%s: %w", l.show(optCAPath), err)
	}
	if l.has(optNoVerify) {
		l.warn("the endpoint's certificate is not verified (-k): a man in the middle can read the token and the tunnel")
	}
	dialer := netdial.FromEnvironment()
	dialer.RootCAs = roots.RootCAs
	l.cfg.TLS, l.cfg.NetDial = roots, dialer.DialContext
	return nil
}

// services lists the names that are mapped, sorted.
func (c *Config) services() []string {
	var names []string
	for _, m := range c.Mappings {
		if m.Service != "" {
			names = append(names, m.Service)
		}
	}
	slices.Sort(names)
	return names
}
