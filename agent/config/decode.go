package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-iot/culvert/internal/suggest"
)

// decoder turns a document into a Config, and collects what is wrong on the way.
type decoder struct {
	doc *document
	cfg *Config
	dir string // what relative paths are relative to

	meant []string // keys that a misspelt one was probably meant to be
}

// key is one key of a section and what to do with its value.
type key struct {
	name string
	read func(d *decoder, n *node)
}

// section is one table of the file; the one without a name is the top of the file.
type section struct {
	name string
	keys []key
}

// sections are all keys that exist, except the names of services.
var sections = []section{
	{"", []key{
		{"thing_name", func(d *decoder, n *node) { d.thingName(n) }},
	}},
	{"mqtt", []key{
		{"enabled", func(d *decoder, n *node) { d.mqttEnabled(n) }},
		{"endpoint", func(d *decoder, n *node) { d.mqttEndpoint(n) }},
		{"client_id", func(d *decoder, n *node) { d.clientID(n) }},
		{"ca_file", func(d *decoder, n *node) { d.optionalPath(n, &d.cfg.MQTT.CAFile) }},
		{"cert_file", func(d *decoder, n *node) { d.requiredPath(n, &d.cfg.MQTT.CertFile) }},
		{"key_file", func(d *decoder, n *node) { d.keyFile(n) }},
		{"username", func(d *decoder, n *node) { d.username(n) }},
		{"password_file", func(d *decoder, n *node) { d.optionalPath(n, &d.cfg.MQTT.PasswordFile) }},
		{"authorizer", func(d *decoder, n *node) { d.authorizer(n) }},
		{"authorizer_token_file", func(d *decoder, n *node) { d.optionalPath(n, &d.cfg.MQTT.TokenFile) }},
		{"keep_alive", func(d *decoder, n *node) { d.keepAlive(n) }},
		{"persistent_session", func(d *decoder, n *node) { d.boolean(n, &d.cfg.MQTT.PersistentSession) }},
		{"answer_pings", func(d *decoder, n *node) { d.boolean(n, &d.cfg.MQTT.AnswerPings) }},
	}},
	{"tunnel", []key{
		{"endpoint", func(d *decoder, n *node) { d.tunnelEndpoint(n) }},
		{"ca_file", func(d *decoder, n *node) { d.optionalPath(n, &d.cfg.Tunnel.CAFile) }},
		{"regions", func(d *decoder, n *node) { d.regions(n) }},
		{"max_tunnels", func(d *decoder, n *node) { d.integer(n, &d.cfg.Tunnel.MaxTunnels, 1, maxTunnels) }},
		{"idle_timeout", func(d *decoder, n *node) { d.duration(n, &d.cfg.Tunnel.IdleTimeout, "15m") }},
		{"resume_timeout", func(d *decoder, n *node) { d.resumeTimeout(n) }},
		{"connect_timeout", func(d *decoder, n *node) { d.connectTimeout(n) }},
		{"state_dir", func(d *decoder, n *node) { d.optionalPath(n, &d.cfg.Tunnel.StateDir) }},
	}},
	{"services", nil}, // its keys are the users'
	{"hooks", []key{
		{"command", func(d *decoder, n *node) { d.hookCommand(n) }},
		{"timeout", func(d *decoder, n *node) { d.hookTimeout(n) }},
		{"events", func(d *decoder, n *node) { d.hookEvents(n) }},
	}},
	{"log", []key{
		{"level", func(d *decoder, n *node) { d.logLevel(n) }},
		{"format", func(d *decoder, n *node) { d.oneOf(n, &d.cfg.Log.Format, "text", "json") }},
	}},
	{"control", []key{
		{"socket", func(d *decoder, n *node) { d.controlSocket(n) }},
		{"group", func(d *decoder, n *node) { d.controlGroup(n) }},
	}},
	{"metrics", []key{
		{"listen", func(d *decoder, n *node) { d.metricsListen(n) }},
	}},
}

// serviceKeys are the keys of a service that is written as a table.
var serviceKeys = []string{"address", "max_connections", "idle_timeout", "max_duration", "enabled"}

// decode reads all sections. The services come last: their default idle timeout is a tunnel's key.
func (d *decoder) decode() {
	root := d.doc.root
	for _, s := range sections {
		if s.name == "" {
			d.keys(root, s)
			continue
		}
		n := root.child(s.name)
		if n == nil || !d.isTable(n, s.name) {
			continue
		}
		if s.name != "services" {
			d.keys(n, s)
		}
	}
	if n := root.child("services"); n != nil && n.kind == tableKind {
		for _, c := range n.children {
			d.service(c)
		}
	}
	if !d.doc.broken {
		d.required()
	}
	d.identify()
	d.defaultClientID()
}

// isTable reports whether a section is one, and says so if not.
func (d *decoder) isTable(n *node, name string) bool {
	switch n.kind {
	case tableKind:
		return true
	case listKind:
		d.doc.problem(n.key, "write ["+name+"] once, with one pair of brackets", "%s is a table, not a list", name)
	default:
		d.doc.problem(n.key, "write ["+name+"] on a line of its own, and its keys beneath", "%s is a table, not %s", name, n.kind)
	}
	return false
}

// keys reads the keys of one section in the file's order.
func (d *decoder) keys(n *node, s section) {
	for _, c := range n.children {
		c.path = strings.TrimPrefix(s.name+"."+c.name, ".")
		i := slices.IndexFunc(s.keys, func(k key) bool { return k.name == c.name })
		switch {
		case i >= 0:
			s.keys[i].read(d, c)
		case s.name == "" && c.name != "" && slices.ContainsFunc(sections, func(s section) bool { return s.name == c.name }):
		default:
			d.unknown(c, s)
		}
	}
}

// unknown reports a key that does not exist in its section and guesses what was meant.
func (d *decoder) unknown(n *node, in section) {
	what := "key " + quoteKey(n.name)
	if n.kind == tableKind && !n.dotted {
		what = "table [" + quoteKey(n.name) + "]"
		if in.name != "" {
			what = "table [" + in.name + "." + quoteKey(n.name) + "]"
		}
	} else if in.name != "" {
		what += " in [" + in.name + "]"
	}
	d.doc.problem(n.key, d.guess(n, in), "unknown %s", what)
}

func (d *decoder) guess(n *node, in section) string {
	var here, all []string
	for _, s := range sections {
		if s.name == in.name {
			here = keyNames(s)
		}
		all = append(all, s.name)
	}
	if in.name != "" {
		if hint := d.elsewhere(n.name, in); hint != "" {
			return hint // the exact name, though in the wrong place, beats a similar one
		}
		if guess := suggest.Nearest(n.name, here); guess != "" {
			d.meant = append(d.meant, in.name+"."+guess)
			return "did you mean " + guess + "?"
		}
		return "the keys of [" + in.name + "] are " + strings.Join(here, ", ")
	}
	if n.kind == tableKind {
		if guess := suggest.Nearest(n.name, all[1:]); guess != "" {
			d.meant = append(d.meant, guess)
			return "did you mean [" + guess + "]?"
		}
		return "the tables are [" + strings.Join(all[1:], "], [") + "]"
	}
	if guess := suggest.Nearest(n.name, here); guess != "" {
		d.meant = append(d.meant, guess)
		return "did you mean " + guess + "?"
	}
	if hint := d.elsewhere(n.name, in); hint != "" {
		return hint
	}
	return "the keys before the first table are " + strings.Join(here, ", ") + "; all others go under a [table]"
}

func keyNames(s section) []string {
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.name
	}
	return names
}

// elsewhere names the sections that have a key of that name.
func (d *decoder) elsewhere(name string, in section) string {
	var places []string
	for _, s := range sections {
		if s.name != in.name && slices.Contains(keyNames(s), name) {
			d.meant = append(d.meant, strings.TrimPrefix(s.name+"."+name, "."))
			if s.name == "" {
				return name + " goes at the top of the file, before the first [table]"
			}
			places = append(places, "["+s.name+"]")
		}
	}
	if places == nil {
		return ""
	}
	return name + " belongs in " + strings.Join(places, " or ")
}

// endpointHint names the command that prints the endpoint, which cannot be guessed.
const endpointHint = "aws iot describe-endpoint --endpoint-type iot:Data-ATS"

// required reports what is missing. What is there and wrong, or under a name that is nearly right, has been
// reported already.
func (d *decoder) required() {
	root, top := d.doc.root, span{0, 1}
	absent := func(table *node, key string) bool {
		path := key
		if table != root {
			path = table.name + "." + key
		}
		return table.child(key) == nil && !slices.Contains(d.meant, path)
	}
	if absent(root, "thing_name") {
		d.doc.problem(top, `write thing_name = "…" at the top, before the first [table]: the thing's name in the AWS IoT registry`, "thing_name is missing")
	}
	m := root.child("mqtt")
	switch {
	case m == nil && absent(root, "mqtt"):
		d.doc.problem(top, "add [mqtt] with endpoint, cert_file and key_file; the endpoint is printed by "+endpointHint, "the table [mqtt] is missing")
		return
	case m == nil, m.kind != tableKind, d.cfg.MQTT.Disabled:
		return
	}
	if absent(m, "endpoint") {
		d.doc.problem(m.key, `write endpoint = "…" beneath [mqtt]: the host printed by `+endpointHint, "mqtt.endpoint is missing")
	}
	byName := d.identified(m)
	for _, pair := range [][2]string{{"cert_file", "key_file"}, {"key_file", "cert_file"}} {
		if !absent(m, pair[0]) || byName && m.child(pair[1]) == nil {
			continue
		}
		format := "mqtt.%s is missing"
		if m.child(pair[1]) != nil {
			format += fmt.Sprintf(", though %s is there: they go together", pair[1])
		}
		what := "the device's certificate"
		if pair[0] == "key_file" {
			what = "the private key of the device's certificate"
		}
		d.doc.problem(m.key, fmt.Sprintf(`write %s = "…" beneath [mqtt]: the PEM file with %s`, pair[0], what), format, pair[0])
	}
}
