package config

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/culvert-iot/culvert/internal/hint"
)

// notTOML is what is said of a file that is certainly no configuration, without showing any of it: it may
// be a secret. It is nil for any other file.
func notTOML(data []byte) error {
	switch {
	case isUTF16(data):
		return hint.New("the file is encoded as UTF-16, as Windows' Notepad and PowerShell write it",
			"convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW")
	case isPEM(data):
		what, _, _ := strings.Cut(pemLabel(data), "-----")
		return hint.New("this is a PEM file ("+strings.ToLower(what)+"), not a configuration",
			"name the configuration with --config, and this file in it as mqtt.key_file, mqtt.cert_file or mqtt.ca_file")
	case bytes.IndexByte(data, 0) >= 0:
		return hint.New("this is a binary file, not a configuration", "check the path")
	}
	return nil
}

// isUTF16 knows the byte order marks, and ASCII text in UTF-16 without one.
func isUTF16(data []byte) bool {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return true
	}
	const enough = 8
	if len(data) < enough {
		return false
	}
	even, odd := 0, 0
	for i := 0; i < enough; i += 2 {
		if data[i] == 0 && data[i+1] != 0 {
			even++
		}
		if data[i+1] == 0 && data[i] != 0 {
			odd++
		}
	}
	return even == enough/2 || odd == enough/2
}

const pemBegin = "-----BEGIN "

// isPEM reports whether a line begins as a PEM block does.
func isPEM(data []byte) bool {
	data = bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), " \t\r\n")
	return bytes.HasPrefix(data, []byte(pemBegin)) || bytes.Contains(data, []byte("\n"+pemBegin))
}

// pemLabel returns the label of the first PEM block, and what follows.
func pemLabel(data []byte) string {
	_, label, _ := strings.Cut(string(data), pemBegin)
	return label
}

// longSecret is the length from which a run of letters and digits looks like a key or a token. AWS's secret
// keys have 40 characters, a line of a PEM file 64.
const longSecret = 32

// secretKeys are parts of the names of keys whose values are not shown.
var secretKeys = []string{"password", "passwd", "passphrase", "secret", "token", "private_key", "credential"}

// hideSecrets replaces by "*" what looks like a secret in a text of the file: long runs of mixed letters and
// digits, and the value of a key that sounds like one. The width stays as it is.
func hideSecrets(s string) string {
	if i := strings.IndexAny(s, "=:"); i > 0 {
		key := strings.ToLower(strings.Trim(s[:i], " \t\"'"))
		for _, part := range secretKeys {
			if strings.Contains(key, part) && !strings.HasSuffix(key, "_file") && !strings.ContainsAny(key, " #") {
				return s[:i+1] + stars(s[i+1:], " \t\"'")
			}
		}
	}
	var b strings.Builder
	for len(s) > 0 {
		end := strings.IndexFunc(s, func(r rune) bool { return !inSecret(r) })
		switch {
		case end < 0:
			end = len(s)
		case end == 0:
			_, n := utf8.DecodeRuneInString(s)
			b.WriteString(s[:n])
			s = s[n:]
			continue
		}
		if run := s[:end]; looksSecret(run) {
			b.WriteString(strings.Repeat("*", len(run)))
		} else {
			b.WriteString(run)
		}
		s = s[end:]
	}
	return b.String()
}

// hider replaces the words that are hidden in a line wherever else they are quoted. Shorter ones could be anything.
func hider(line, hidden string) *strings.Replacer {
	const shortest = 3
	var pairs []string
	raw, mask := []rune(line), []rune(hidden)
	for i := 0; i < min(len(raw), len(mask)); i++ {
		start := i
		for i < min(len(raw), len(mask)) && mask[i] == '*' {
			i++
		}
		if i-start >= shortest {
			pairs = append(pairs, string(raw[start:i]), string(mask[start:i]))
		}
	}
	return strings.NewReplacer(pairs...)
}

// stars replaces all characters but those to keep.
func stars(s, keep string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(keep, r) {
			return r
		}
		return '*'
	}, s)
}

func inSecret(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '+' || r == '/' || r == '='
}

func looksSecret(run string) bool {
	return len(run) >= longSecret && strings.ContainsAny(run, "0123456789") &&
		strings.ContainsAny(run, "abcdefghijklmnopqrstuvwxyz") && strings.ContainsAny(run, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}
