package doctor

import (
	"regexp"
	"strings"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/version"
)

// filter takes out of a bundle what nobody needs for help and somebody could misuse. It knows forms, not values: what
// it does not know it cannot find, which is why nothing secret is put in to begin with.
type filter struct {
	names *strings.Replacer
	forms []form
}

type form struct {
	pattern *regexp.Regexp
	instead string
}

func newFilter(cfg *config.Config) *filter {
	f := &filter{names: strings.NewReplacer()}
	if prefix, _, found := strings.Cut(cfg.MQTT.Endpoint, "."); found && regionOf(cfg.MQTT.Endpoint) != "" {
		// The endpoint's first label is the account's own.
		f.names = strings.NewReplacer(strings.TrimSuffix(prefix, "-ats"), "[account's prefix]")
	}
	for _, rule := range [][2]string{
		{`(?s)-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|\z)`, "[PEM block]"},
		{`://[^/\s"']*@`, "://[user]@"},
		// A key or attribute by whose name the value is secret: TOML, JSON, and the log's key=value.
		{`(?i)("?[a-z0-9_.-]*(?:secret|passw|passphrase|token|authorization|api_?key|signature)[a-z0-9_-]*"?[ \t]*(?:=|:[ \t]*"))[ \t]*("[^"\n]*"|'[^'\n]*'|[^\s"',]*)`, `${1}[removed]`},
		{`\b(AKIA|ASIA)[A-Z0-9]{12,}\b`, "[access key]"},
		// Client tokens are UUIDs, access tokens some 600 characters of base64url.
		{`\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b`, "[uuid]"},
		{`[A-Za-z0-9_+=-]{64,}`, "[long word]"},
		{`\b[0-9]{12}\b`, "[account]"},
	} {
		f.forms = append(f.forms, form{regexp.MustCompile(rule[0]), rule[1]})
	}
	return f
}

func (f *filter) text(s string) string {
	s = f.names.Replace(s)
	for _, form := range f.forms {
		s = form.pattern.ReplaceAllString(s, form.instead)
	}
	return s
}

func (c *checkup) versionText() string { return version.Get().String() }
