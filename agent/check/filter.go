package check

import (
	"strings"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/version"
)

// filter removes from a bundle what looks secret. It knows forms, not values, and may miss some: that is
// why nothing secret is put in to begin with. Package regexp would add 150 KB to the binary.
type filter struct{ names *strings.Replacer }

func newFilter(cfg *config.Config) *filter {
	f := &filter{names: strings.NewReplacer()}
	if prefix, _, found := strings.Cut(cfg.MQTT.Endpoint, "."); found && regionOf(cfg.MQTT.Endpoint) != "" {
		// The endpoint's first label is the account's own.
		f.names = strings.NewReplacer(strings.TrimSuffix(prefix, "-ats"), "[account's prefix]")
	}
	return f
}

func (f *filter) text(s string) string {
	s = withoutPEM(f.names.Replace(s))
	var b strings.Builder
	for line := range strings.Lines(s) {
		line = withoutUsers(line)
		line = withoutSecrets(line)
		maskWords(&b, line)
	}
	return b.String()
}

// withoutPEM replaces PEM blocks. One without an end extends to the end of the text.
func withoutPEM(s string) string {
	const begin, end, dashes = "-----BEGIN ", "-----END ", "-----"
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, begin)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("[PEM block]")
		if _, rest, found = strings.Cut(rest, end); !found {
			return b.String()
		}
		if _, s, found = strings.Cut(rest, dashes); !found {
			return b.String()
		}
	}
}

// withoutUsers replaces user and password in URLs.
func withoutUsers(line string) string {
	const mark = "://"
	from := 0
	for {
		i := strings.Index(line[from:], mark)
		if i < 0 {
			return line
		}
		from += i + len(mark)
		end := strings.IndexAny(line[from:], "/ \t\r\n\"'")
		if end < 0 {
			end = len(line) - from
		}
		if at := strings.LastIndexByte(line[from:from+end], '@'); at >= 0 {
			line = line[:from] + "[user]" + line[from+at:]
		}
	}
}

// secretNames are parts of names whose values are secret, in TOML, JSON and the log's key=value.
var secretNames = []string{"secret", "passw", "passphrase", "token", "authorization", "api_key", "apikey", "signature", "credential"}

// withoutSecrets replaces what follows such a name and an equals sign, or a colon and a quotation
// mark.
func withoutSecrets(line string) string {
	for _, name := range secretNames {
		for from := 0; ; {
			i := strings.Index(strings.ToLower(line[from:]), name)
			if i < 0 || len(strings.ToLower(line[from:])) != len(line[from:]) { // some letters change their length
				break
			}
			from += i + len(name)
			at := from + len(line[from:]) - len(strings.TrimLeft(line[from:], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"))
			rest := strings.TrimLeft(strings.TrimPrefix(line[at:], `"`), " \t")
			if rest == "" || rest[0] != '=' && rest[0] != ':' {
				continue
			}
			value := strings.TrimLeft(rest[1:], " \t")
			if rest[0] == ':' && !strings.HasPrefix(value, `"`) {
				continue // prose
			}
			start := len(line) - len(value)
			line = line[:start] + "[removed]" + value[valueLength(value):]
			from = start
		}
	}
	return line
}

// valueLength returns a value's length: to its closing quotation mark, or to a blank or comma.
func valueLength(s string) int {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		if i := strings.IndexAny(s, " \t\r\n,\"'"); i >= 0 {
			return i
		}
		return len(s)
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] == '"':
			i++
		case s[i] == s[0]:
			return i + 1
		case s[i] == '\n':
			return i
		}
	}
	return len(s)
}

const (
	longWord      = 64 // access tokens have some 600 characters, keys in base64 without line ends hundreds
	uuidLength    = 36 // client tokens are UUIDs
	accountLength = 12 // digits of an AWS account
)

// maskWords writes a line and replaces words that look secret.
func maskWords(b *strings.Builder, line string) {
	for line != "" {
		end := strings.IndexFunc(line, func(r rune) bool { return !wordChar(r) })
		if end < 0 {
			end = len(line)
		}
		if end > 0 {
			maskWord(b, line[:end])
			line = line[end:]
			continue
		}
		next := strings.IndexFunc(line, wordChar)
		if next < 0 {
			next = len(line)
		}
		b.WriteString(line[:next])
		line = line[next:]
	}
}

func maskWord(b *strings.Builder, word string) {
	if len(word) >= longWord {
		b.WriteString("[long word]")
		return
	}
	for i := 0; i+uuidLength <= len(word); i++ {
		if isUUID(word[i : i+uuidLength]) {
			word = word[:i] + "[uuid]" + word[i+uuidLength:]
		}
	}
	for _, part := range strings.FieldsFunc(word, func(r rune) bool { return r == '-' || r == '+' }) {
		switch {
		case len(part) == accountLength && strings.Trim(part, "0123456789") == "":
			word = strings.Replace(word, part, "[account]", 1)
		case len(part) >= 16 && (strings.HasPrefix(part, "AKIA") || strings.HasPrefix(part, "ASIA")):
			word = strings.Replace(word, part, "[access key]", 1)
		}
	}
	b.WriteString(word)
}

func wordChar(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '+' || r == '-'
}

func isUUID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
			continue
		}
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func (c *checkup) versionText() string { return version.Get().String() }
