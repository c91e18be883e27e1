package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLinesWithPrefix(t *testing.T) {
	for name, c := range map[string]struct{ in, file, terminal string }{
		"lines":           {"one\n\ntwo", "pi: one\npi: \npi: two\n", "pi: one\npi: \npi: two\n"},
		"of DOS":          {"one\r\n\r\ntwo\r\n", "pi: one\r\npi: \r\npi: two\r\n", "pi: one\npi: \npi: two\n"},
		"a meter":         {"\r10%\r20%\rdone\n", "pi: \r10%\r20%\rdone\n", "pi: 10%\npi: 20%\npi: done\n"},
		"a forged prefix": {"x\rpi-2: ok\n", "pi: x\rpi-2: ok\n", "pi: x\npi: pi-2: ok\n"},
		"a sequence":      {"a\tb\x1b[1A\u009b2K\u202e\x7f\b\xffü\n", "pi: a\tb\x1b[1A\u009b2K\u202e\x7f\b\xffü\n", "pi: a\tb\ufffd[1A\ufffd2K\ufffd\ufffd\ufffd\ufffdü\n"},
		"a long line": {
			strings.Repeat("x", maxLine+1) + "\n", "pi: " + strings.Repeat("x", maxLine) + "\npi: x\n", "pi: " + strings.Repeat("x", maxLine) + "\npi: x\n",
		},
	} {
		for _, forTerminal := range []bool{false, true} {
			for _, size := range []int{1, 7, maxLine} { // of the pieces in which the text comes
				if size < maxLine && len(c.in) > maxLine {
					continue // where it is cut depends on the pieces
				}
				var got bytes.Buffer
				p := &prefixed{prefix: "pi: ", w: &got, forTerminal: forTerminal, lost: func(err error) { t.Error(err) }}
				for b := []byte(c.in); len(b) > 0; b = b[min(size, len(b)):] {
					_, _ = p.Write(b[:min(size, len(b))])
				}
				p.flush()
				want := c.file
				if forTerminal {
					want = c.terminal
				}
				if got.String() != want {
					t.Errorf("%s, terminal %v, by %d bytes: %.100q, want %.100q", name, forTerminal, size, got.String(), want)
				}
			}
		}
	}
}

func TestNamesOfOutputFiles(t *testing.T) {
	for thing, windows := range map[string]string{
		"pi-1": "pi-1", "a:b:c": "a%3Ab%3Ac", "NUL": "%4EUL", "com1": "%63om1", "con": "%63on", "com10": "com10", "console": "console",
	} {
		if got := outputName(thing, "windows"); got != windows {
			t.Errorf("%s on Windows: %s, want %s", thing, got, windows)
		}
		if got := outputName(thing, "linux"); got != thing {
			t.Errorf("%s: %s", thing, got)
		}
	}
}

func TestThingsThatWouldShareAFile(t *testing.T) {
	folding := func(answer bool, err error) func(string) (bool, error) {
		return func(string) (bool, error) { return answer, err }
	}
	dir := filepath.Join(t.TempDir(), "out")
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		names []string
		folds func(string) (bool, error)
		want  string
	}{
		"none":                           {[]string{"pi-1", "pi-2"}, folding(true, nil), ""},
		"two, and the directory tells":   {[]string{"pi-1", "PI-1"}, folding(false, nil), ""},
		"two":                            {[]string{"x", "Pi-1", "pi-1"}, folding(true, nil), dir + " does not distinguish upper from lower case: Pi-1 and pi-1 would share a file"},
		"a directory that takes no file": {[]string{"Pi-1", "pi-1"}, folding(false, broken), "broken"},
	} {
		got := ""
		if err := checkOutput(dir, c.names, c.folds); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	// What the file system itself does with two such names is the standard for the trial.
	first, second := filepath.Join(dir, "pi-1.out"), filepath.Join(dir, "PI-1.out")
	if err := os.WriteFile(first, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := os.Lstat(second)
	folds, tried := foldsCase(dir)
	if files, _ := os.ReadDir(dir); tried != nil || folds != (err == nil) || len(files) != 1 {
		t.Errorf("folds %v, %v; %d files", folds, tried, len(files))
	}
}

func TestTheListOfFailuresIsTrueAtEachMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "todo")
	const before = "# mine, longer than the new list is going to be\npi-9\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	want := func(text string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	if err := checkFailed(path); err != nil {
		t.Fatal(err)
	}
	want(before)
	l, err := beginFailed(path, []string{"pi-1", "pi-2", "pi-3"})
	if err != nil {
		t.Fatal(err)
	}
	want(" pi-1\n pi-2\n pi-3\n")
	l.succeeded("pi-2")
	want(" pi-1\n#pi-2\n pi-3\n")
	if err := l.finish([]string{"pi-1", "pi-3"}); err != nil {
		t.Fatal(err)
	}
	want("pi-1\npi-3\n")
	missing := filepath.Join(filepath.Dir(path), "missing")
	if err := checkFailed(missing); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(missing); err == nil {
		t.Error("the trial leaves a file")
	}
	if err := checkFailed(filepath.Join(missing, "todo")); err == nil {
		t.Error("a file in no directory is taken")
	}
}

func TestWhatDevicesNeed(t *testing.T) {
	for want, c := range map[string]struct {
		n     int
		price float64
	}{
		"1 device needs a tunnel, at 1.50; an open one is used again":                     {1, 1.5},
		"3 devices need a tunnel each, at 1.50 each up to 4.50; open ones are used again": {3, 1.5},
		"3 devices need a tunnel each; open ones are used again":                          {3, 0},
	} {
		if got := toll(c.n, c.price); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
