package clean

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestUntrustedTextCannotSteerATerminal(t *testing.T) {
	for name, c := range map[string]struct{ in, text, line string }{
		"plain":           {"café = 22", "café = 22", "café = 22"},
		"escape sequence": {"a\x1b[2Jb", "a\ufffd[2Jb", "a [2Jb"},
		"C1 control":      {"a\u009b2Jb", "a\ufffd2Jb", "a 2Jb"},
		"bidi override":   {"a\u202eb", "a\ufffdb", "a b"},
		"lines":           {"a\r\n\tb", "a\ufffd\ufffd\ufffdb", "a b"},
		"invalid UTF-8":   {"a\xff\xfeb", "a\ufffd\ufffdb", "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Text(c.in, 0); got != c.text {
				t.Errorf("Text = %q, want %q", got, c.text)
			}
			if got := Line(c.in, 0); got != c.line {
				t.Errorf("Line = %q, want %q", got, c.line)
			}
		})
	}
}

func TestTextIsCutBetweenCharacters(t *testing.T) {
	if got := Text("aéé", 2); got != "a…" {
		t.Errorf("Text = %q", got)
	}
	if got := Line("aéé", 3); got != "aé…" {
		t.Errorf("Line = %q", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b]0;x\x07\u202e\xff", 5)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		for _, got := range []string{Text(s, limit), Line(s, limit)} {
			if !utf8.ValidString(got) || limit > 0 && len(got) > limit+len("…") {
				t.Fatalf("%q of %q", got, s)
			}
			for _, r := range got {
				if r != utf8.RuneError && !unicode.IsPrint(r) {
					t.Fatalf("%q of %q holds %U", got, s, r)
				}
			}
		}
	})
}

func TestErrorCleansTheTextAndKeepsTheCause(t *testing.T) {
	cause := errors.New("for \x1b]0;owned\x07, not\u009b31m \u202egnp.x")
	got := Error(fmt.Errorf("verify: %w", cause))
	if want := "verify: for ]0;owned , not 31m gnp.x"; got.Error() != want || !errors.Is(got, cause) {
		t.Errorf("Error = %q, want %q", got, want)
	}
	if Error(nil) != nil || Error(io.EOF) != io.EOF {
		t.Error("a safe error was changed")
	}
}

func TestJSONKeepsItsMeaningAndShowsNothingThatATerminalObeys(t *testing.T) {
	type document struct {
		Service string
		List    []string
	}
	in := document{"a\u009b31m\u202eb\U000e0001\u2028\x7f\x1b", []string{"gerät", "日本", "\ufeff\u200b"}}
	data, err := json.MarshalIndent(in, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	shown := JSON(data)
	for _, r := range string(shown) {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			t.Errorf("%U is shown in %q", r, shown)
		}
	}
	var out document
	if err := json.Unmarshal(shown, &out); err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("%+v, %v", out, err)
	}
	if plain := []byte(`{"Service":"gerät"}`); !bytes.Equal(JSON(plain), plain) {
		t.Errorf("%s was changed", plain)
	}
}
