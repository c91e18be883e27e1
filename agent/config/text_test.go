package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

func parseError(t *testing.T, text string) error {
	t.Helper()
	_, err := Parse(strings.NewReader(text), "x.toml")
	if err == nil {
		t.Fatal("accepted")
	}
	return err
}

func TestAnotherEditorsFileIsReadAlike(t *testing.T) {
	want := mustParse(t, minimal)
	for name, text := range map[string]string{
		"byte order mark":     "\ufeff" + minimal,
		"CRLF line ends":      strings.ReplaceAll(minimal, "\n", "\r\n"),
		"both":                "\ufeff" + strings.ReplaceAll(minimal, "\n", "\r\n"),
		"no end of last line": strings.TrimRight(minimal, "\n"),
	} {
		if diff := cmp.Diff(want, mustParse(t, text)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestMessagesShowTheLineAsATerminalBearsIt(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{
			"after a byte order mark and with CRLF", "\ufeffthing_name = 1\r\n" + requiredPart,
			"x.toml:1:14: thing_name: expected a string, found a whole number\n   1 | thing_name = 1\n     |              ^\n  hint: write it in quotes: \"1\"",
		},
		{
			"a tab stays as wide as it is", "thing_name = \"t\"\n" + requiredPart + "\tkeep_alive\t= 5\n",
			"x.toml:7:15: mqtt.keep_alive: expected a duration, found a whole number\n   7 | \tkeep_alive\t= 5\n     | \t          \t  ^\n  hint: a duration has a unit and quotes, as in \"5s\"",
		},
		{
			"columns count characters, not bytes", "thing_name = \"gerät\"\n" + requiredPart,
			"x.toml:1:14: thing_name \"gerät\" has a 'ä' in it\n   1 | thing_name = \"gerät\"\n     |              ^~~~~~~\n  hint: AWS IoT allows 1 to 128 letters, digits, \":\", \"_\" and \"-\"",
		},
		{
			"a character of two bytes before the mark", "thing_name = \"t\"\nlog = { \"ü\" = 1 }\n" + requiredPart,
			"x.toml:2:9: unknown key \"ü\" in [log]\n   2 | log = { \"ü\" = 1 }\n     |         ^~~\n  hint: the keys of [log] are level, format",
		},
		{
			"an escape sequence for the terminal", "thing_name = \x1b[31m\n" + requiredPart,
			"x.toml:1:14: \ufffd[31m is not a value\n   1 | thing_name = \ufffd[31m\n     |              ^~~~~\n  hint: write it in double quotes: \"\\x1b[31m\"",
		},
		{
			"letters that a terminal reverses, in the hint too", "\"a\u202eb\": 1\n" + requiredPart,
			"x.toml:1:6: there is no \"=\" after the key\n   1 | \"a\ufffdb\": 1\n     |      ^\n  hint: write \"a\ufffdb\" = value, with = instead of the colon",
		},
		{
			"text that is not UTF-8", "thing_name = \"\xff\"\n" + requiredPart,
			"x.toml:1:15: the text is not UTF-8\n   1 | thing_name = \"\ufffd\"\n     |               ^\n  hint: save the file as UTF-8",
		},
		{
			"a lone carriage return", "thing_name = \"t\"\r# x\n" + requiredPart,
			"x.toml:1:17: this does not belong to the value before it\n   1 | thing_name = \"t\"\ufffd# x\n     |                 ^\n  hint: put each setting on a line of its own",
		},
		{
			"the middle of a long line", "thing_name = \"t\"\nservices = { " + strings.Repeat("a", 100) + " = 0, b = 2, " + strings.Repeat("c", 100) + " = 3 }\n" + requiredPart,
			"x.toml:2:117: services." + strings.Repeat("a", 100) + ": port 0 is out of range\n   2 | …" + strings.Repeat("a", 57) + " = 0, b = 2, " + strings.Repeat("c", 40) + "…\n     | " + strings.Repeat(" ", 61) + "^\n  hint: write 1 to 65535",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Report(parseError(t, tt.text))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAFileThatIsNoConfigurationGivesABoundedReport(t *testing.T) {
	var b strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&b, "line %d of a log\n", i)
	}
	start := time.Now()
	err := parseError(t, b.String())
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	list, ok := errors.AsType[Errors](err)
	if !ok || len(list) != maxForeign {
		t.Fatalf("%d problems", len(list))
	}
	if hint := list[maxForeign-1].Hint(); !strings.HasSuffix(hint, "29997 more problems are not shown") {
		t.Errorf("the last hint is %q", hint)
	}
	// What has a table of a configuration is one, with many slips.
	list, ok = errors.AsType[Errors](parseError(t, "[log]\n"+b.String()))
	if !ok || len(list) != maxProblems {
		t.Fatalf("%d problems", len(list))
	}
}

func TestManyKeysTakeNoLongerThanTheyShould(t *testing.T) {
	var b strings.Builder
	b.WriteString(minimal + "[services]\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "s%d = 22\n", i)
	}
	if cfg := mustParse(t, b.String()); len(cfg.Services) != 10_000 {
		t.Errorf("%d services", len(cfg.Services))
	}
}

func TestOneProblemIsAnErrorSeveralAreErrors(t *testing.T) {
	err := parseError(t, "thing_name = 1\n"+requiredPart)
	if e, ok := err.(*Error); !ok || e.Line != 1 || e.Column != 14 || e.File != "x.toml" || e.Source != "thing_name = 1" {
		t.Errorf("%#v", err)
	}
	err = parseError(t, "a = 1\nthing_name = 1\n"+requiredPart)
	var first *Error
	if !errors.As(err, &first) || first.Line != 1 {
		t.Errorf("%#v", err)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		load func() (*Config, error)
		is   error
		want string
	}{
		{
			"no name", func() (*Config, error) { return Load("") }, nil,
			"--config: it names no file\n  hint: write --config FILE; without --config it is /etc/culvert/culvertd.toml",
		},
		{
			"missing", func() (*Config, error) { return Load(dir + "/none.toml") }, fs.ErrNotExist,
			dir + "/none.toml: there is no such file\n  hint: make one with culvertd init, or name another with --config FILE",
		},
		{
			"a directory", func() (*Config, error) { return Load(dir) }, nil,
			dir + ": this is a directory, not a configuration file\n  hint: name the file in it, as in --config " + dir + "/culvertd.toml",
		},
		{
			"a path through a file", func() (*Config, error) { return Load(big + "/x") }, nil,
			big + "/x: cannot be read: not a directory\n  hint: check the file and the disk that it is on",
		},
		{
			"no permission", func() (*Config, error) {
				return nil, unreadable("x.toml", &fs.PathError{Op: "open", Path: "x.toml", Err: fs.ErrPermission})
			}, fs.ErrPermission,
			"x.toml: this user may not read the file\n  hint: run as the user that owns it, or give this one access: see ls -l x.toml",
		},
		{
			"a disk that fails", func() (*Config, error) { return Parse(iotest.ErrReader(errors.New("input/output error")), "x.toml") }, nil,
			"x.toml: cannot be read: input/output error\n  hint: check the file and the disk that it is on",
		},
		{
			"far too large", func() (*Config, error) { return Load(big) }, nil,
			big + ": the file is larger than 1024 KiB\n  hint: this is hardly a configuration: check the path",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.load()
			if err == nil {
				t.Fatal("loaded")
			}
			if diff := cmp.Diff(tt.want, Report(err)); diff != "" {
				t.Error(diff)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Line != 0 {
				t.Errorf("%#v", err)
			}
		})
	}
}

// named is a string with rules of its own, as a duration was before it became part of the tree's walk.
type named string

func (n *named) UnmarshalText([]byte) error { return errors.New("refused") }

type wrapped struct{}

func (w *wrapped) UnmarshalText([]byte) error { return errors.New("refused") }

// go-toml 2.4 passes over UnmarshalText of named string types. This package decodes no values by go-toml
// for that reason among others; a caller that needs it must wrap the type in a struct.
func TestDurationsAreCheckedWhateverTheDecoderDoes(t *testing.T) {
	var inStruct struct{ V wrapped }
	if err := toml.Unmarshal([]byte(`V = "x"`), &inStruct); err == nil {
		t.Error("go-toml passes over UnmarshalText of structs too")
	}
	var bare struct{ V named }
	if err := toml.Unmarshal([]byte(`V = "x"`), &bare); err != nil {
		t.Log("go-toml calls UnmarshalText of named strings again")
	}
	for section, setting := range map[string]string{
		"mqtt": `keep_alive = "soon"`, "tunnel": `idle_timeout = "soon"`, "services": `a = { address = 1, idle_timeout = "soon" }`,
	} {
		if err := parseError(t, with(section, setting)); !strings.Contains(err.Error(), `"soon" is not a duration`) {
			t.Errorf("%s: %v", section, err)
		}
	}
	if err := parseError(t, with("tunnel", `connect_timeout = "soon"`)); !strings.Contains(err.Error(), `"soon" is not a duration`) {
		t.Error(err)
	}
}

// TestASecretInThePlaceOfTheConfigurationIsNotShown gives the daemon the files that lie beside its configuration.
func TestASecretInThePlaceOfTheConfigurationIsNotShown(t *testing.T) {
	const body = "MIIEpAIBAAKCAQEA7bq0Wq3v5Wn1Zr8yqk6Jr0c9aGZ0sYl2u4x1m3n5p7q9S1T3"
	key := "-----BEGIN RSA PRIVATE KEY-----\n" + strings.Repeat(body+"\n", 25) + "-----END RSA PRIVATE KEY-----\n"
	utf16 := "\xff\xfe"
	for _, c := range key {
		utf16 += string(c) + "\x00"
	}
	for name, c := range map[string]struct{ data, want string }{
		"a private key":                {key, "a PEM file (rsa private key)"},
		"with a byte order mark":       {"\ufeff\r\n" + strings.ReplaceAll(key, "\n", "\r\n"), "a PEM file"},
		"after attributes":             {"Bag Attributes\n    friendlyName: x\n" + key, "a PEM file"},
		"in UTF-16":                    {utf16, "UTF-16"},
		"in UTF-16 without a mark":     {utf16[2:], "UTF-16"},
		"in DER":                       {"\x30\x82\x04\xa4\x02\x01\x00\x02\x82" + body, "a binary file"},
		"without its first line":       {strings.Repeat(body+"\n", 25), "no \"=\" after the key"},
		"a token alone":                {body + body, "no \"=\" after the key"},
		"a key pasted into TOML":       {"thing_name = \"" + body + "\"\nkey = " + body + "\n", ""},
		"a password of the user's own": {"[mqtt]\npassword = \"hunter2\"\ntoken: hunter2\n", "unknown key password"},
		"a password without quotes":    {"[mqtt]\npassword = hunter2\n", "******* is not a value"},
		"a password with a colon":      {"[mqtt]\npassword:hunter2 = 1\n", "put a name with a colon in quotes"},
		"a JSON bundle":                {"{\n\"privateKey\": \"" + body + "\",\n\"token\": \"hunter2\"\n}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := Report(parseError(t, c.data))
			for i := range len(body) - 16 {
				if part := body[i : i+16]; strings.Contains(text, part) {
					t.Fatalf("%q of the key is shown:\n%s", part, text)
				}
			}
			if strings.Contains(text, "hunter2") || !strings.Contains(text, c.want) {
				t.Errorf("want %q, got:\n%s", c.want, text)
			}
			if n := strings.Count(text, "\n  hint: "); c.want != "" && n > 3 {
				t.Errorf("%d problems", n)
			}
		})
	}
}
