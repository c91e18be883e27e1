package localproxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Option is one option of the command line. Its long name is also its name in a --config file.
type Option struct {
	Name     string
	Short    string // one letter, or none
	Argument string // what stands for the value in a help text; "" for a switch
	Help     string
}

// IsList reports whether the option may come more than once; its values are joined with commas.
func (o Option) IsList() bool { return o.Name == optSource || o.Name == optDestination }

// The options' long names, as the reference local proxy documents them.
const (
	optAccessToken  = "access-token"
	optClientToken  = "client-token"
	optEndpoint     = "proxy-endpoint"
	optRegion       = "region"
	optSource       = "source-listen-port"
	optDestination  = "destination-app"
	optMode         = "mode"
	optBind         = "local-bind-address"
	optCAPath       = "capath"
	optNoVerify     = "no-ssl-host-verify"
	optClientType   = "destination-client-type"
	optVerbose      = "verbose"
	optConfig       = "config"
	optConfigDir    = "config-dir"
	optSettings     = "settings-json"
	optExport       = "export-default-settings"
	optResume       = "resume-timeout"
	optHelp         = "help"
	optVersion      = "version"
	defaultDir      = "config"                     // of mappings, in the working directory
	accessTokenEnv  = "AWSIOT_TUNNEL_ACCESS_TOKEN" //nolint:gosec // a name
	maxAccessToken  = 4096
	defaultVerbose  = "4"
	defaultBindHost = "localhost"
)

// Options lists the command line's options in the order in which a help text shows them; help and version are
// the caller's.
func Options() []Option {
	return []Option{
		{optSource, "s", "[ID=]PORT,…", "be the source: listen on PORT for the tunnel's service ID; 0 is any free port"},
		{optDestination, "d", "[ID=]TARGET,…", "be the destination: connect service ID to TARGET, a port, host:port or the path of a Unix socket"},
		{optMode, "m", "MODE", "source (src) or destination (dst), where neither -s nor -d says it"},
		{optAccessToken, "t", "TOKEN", "access token; better in the environment as " + accessTokenEnv + ", since other users of this machine can read a command line"},
		{optClientToken, "i", "TOKEN", "client token, which lets the pair of tokens connect again (default a new one)"},
		{optRegion, "r", "REGION", "AWS region of the tunnel"},
		{optEndpoint, "e", "HOST[:PORT]", "data endpoint instead of the region's; a wss:// or ws:// URL will do"},
		{optBind, "b", "ADDRESS", "source: where to listen; destination: host of targets that are a port only (default localhost)"},
		{optClientType, "y", "VERSION", "V1 or V2: speak an older destination's protocol (source only)"},
		{optCAPath, "c", "PATH", "more root certificates: a directory of PEM files, hashed or not, or one file"},
		{optNoVerify, "k", "", "do not verify the endpoint's certificate; for tests only"},
		{optResume, "", "TIME", "keep connections for TIME when their link is lost, if the other end is a Culvert, too; 0 keeps none, 24h is the most (default 10m)"},
		{optConfig, "", "FILE", "read options from FILE, one \"long-name = value\" a line"},
		{optConfigDir, "", "DIR", "read \"ID = PORT or TARGET\" lines from all files below DIR (default ./config, if it exists and neither -s nor -d is given)"},
		{optSettings, "", "FILE", "read fine-grained settings from FILE"},
		{optExport, "", "FILE", "write the default settings to FILE and exit"},
		{optVerbose, "v", "LEVEL", "0 nothing, 1 fatal, 2 error, 3 warning, 4 info, 5 debug, 6 trace (default 4)"},
	}
}

// ExportOption is the option that writes a file with ExportSettings, and nothing else.
const ExportOption = optExport

// Values are options by their long name. A switch that is on is "true".
type Values map[string]string

// environment names the variables that stand for options.
var environment = map[string]string{ //nolint:gosec // names
	optAccessToken: accessTokenEnv,
	optClientToken: "AWSIOT_TUNNEL_CLIENT_TOKEN",
	optEndpoint:    "AWSIOT_TUNNEL_ENDPOINT",
	optRegion:      "AWSIOT_TUNNEL_REGION",
}

// UsageError is a mistake in options, files or settings.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// origin is where a value came from, for precedence and for error texts.
type origin int

const (
	fromEnvironment origin = iota
	fromFile
	fromFlag
)

type setting struct {
	value string
	from  origin
}

// options are the values of all origins, merged: flags win over --config, which wins over the environment.
type options map[string]setting

func merge(flags, file Values, getenv func(string) string) options {
	all := options{}
	for name, variable := range environment {
		// A value that a script read from a file may end in a line feed.
		if v := strings.TrimSpace(getenv(variable)); v != "" {
			all[name] = setting{v, fromEnvironment}
		}
	}
	for name, v := range file {
		all[name] = setting{v, fromFile}
	}
	for name, v := range flags {
		all[name] = setting{v, fromFlag}
	}
	// Endpoint and region are one choice: the origin of higher precedence decides, whichever of the two it names.
	if e, r := all[optEndpoint], all[optRegion]; all.has(optEndpoint) && all.has(optRegion) && e.from != r.from {
		if e.from > r.from {
			delete(all, optRegion)
		} else {
			delete(all, optEndpoint)
		}
	}
	// A switch set to false counts as not given.
	if s, ok := all[optNoVerify]; ok && s.value == "false" {
		delete(all, optNoVerify)
	}
	return all
}

func (o options) has(name string) bool { _, ok := o[name]; return ok }

func (o options) get(name string) string { return o[name].value }

// show names an option as the user wrote it, for an error text.
func (o options) show(name string) string {
	switch o[name].from {
	case fromEnvironment:
		return environment[name]
	case fromFile:
		return name + " in the --config file"
	case fromFlag:
	}
	return "--" + name
}

// inFile are the options that a --config file may set.
func inFile() []string {
	names := []string{optHelp, optVersion}
	for _, o := range Options() {
		names = append(names, o.Name)
	}
	return names
}

// readConfigFile reads a --config file.
func readConfigFile(path string) (Values, error) {
	lines, err := readINI(path)
	if err != nil {
		return nil, usagef("--config: %w", err)
	}
	values := Values{}
	for _, l := range lines {
		switch {
		case l.problem != "":
			return nil, usagef("%s:%d: %s", path, l.number, l.problem)
		case !slices.Contains(inFile(), l.key):
			return nil, usagef("%s:%d: there is no option %q: use the long names, without dashes", path, l.number, l.key)
		case values[l.key] != "":
			return nil, usagef("%s:%d: %s is there twice: remove one", path, l.number, l.key)
		}
		if l.key == optNoVerify {
			if l.value, err = readSwitch(l.value); err != nil {
				return nil, usagef("%s:%d: %s: %w", path, l.number, l.key, err)
			}
		}
		values[l.key] = l.value
	}
	// Options that name other files or end the program belong on the command line.
	maps.DeleteFunc(values, func(name, value string) bool {
		return value == "" || slices.Contains([]string{optConfig, optExport, optHelp, optVersion}, name)
	})
	return values, nil
}

// readSwitch accepts the words for true and false that the reference local proxy's files may use.
func readSwitch(s string) (string, error) {
	switch strings.ToLower(s) {
	case "", "true", "yes", "on", "1":
		return "true", nil
	case "false", "no", "off", "0":
		return "false", nil
	}
	return "", fmt.Errorf("%q is neither true nor false", s)
}
