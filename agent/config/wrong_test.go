package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what Parse says into testdata/wrong; then read it all")

// requiredPart completes the cases that are not about it.
const requiredPart = `
[mqtt]
endpoint = "h"
cert_file = "c"
key_file = "k"
`

// wrongCase is one wrong configuration and all that Parse says about it.
type wrongCase struct{ name, config, want string }

// wrongCases reads a file of cases: "=== name", the configuration up to an empty line, the message up to
// the next case.
func wrongCases(t *testing.T, path string) []wrongCase {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []wrongCase
	for text := range strings.SplitSeq(strings.TrimPrefix(string(data), "=== "), "\n=== ") {
		name, rest, _ := strings.Cut(text, "\n")
		config, want, found := strings.Cut(rest, "--- says\n")
		if !found {
			config = rest
		}
		cases = append(cases, wrongCase{name, strings.TrimSuffix(config, "\n"), strings.TrimRight(want, "\n")})
	}
	return cases
}

// complete adds the required part to a case that does not speak of it.
func (c wrongCase) complete() string {
	if strings.Contains(c.config, "mqtt") || strings.HasPrefix(c.config, "# empty") {
		return c.config
	}
	return c.config + requiredPart
}

func TestWrongConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/wrong/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	total := 0
	for _, file := range files {
		cases := wrongCases(t, file)
		total += len(cases)
		var b strings.Builder
		for _, c := range cases {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+c.name, func(t *testing.T) {
				cfg, err := Parse(strings.NewReader(c.complete()), "culvertd.toml")
				if err == nil {
					t.Fatalf("accepted as %+v", cfg)
				}
				if cfg != nil {
					t.Error("a configuration beside the error")
				}
				if e, ok := errors.AsType[*Error](err); !ok || e.Line < 1 || e.Column < 1 {
					t.Errorf("no place in %#v", err)
				}
				b.WriteString("=== " + c.name + "\n" + c.config + "\n--- says\n" + Report(err) + "\n\n")
				if diff := cmp.Diff(c.want, Report(err)); diff != "" && !*update {
					t.Error(diff)
				}
			})
		}
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if total < 120 {
		t.Errorf("only %d cases were read", total)
	}
}
