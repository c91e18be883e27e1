package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEveryCommandHelps: -h and --version work everywhere; help fits 80 columns and has an example.
func TestEveryCommandHelps(t *testing.T) {
	root := newRoot()
	shortenCompletion(root)
	var lines [][]string
	var visit func(c *cobra.Command, path []string)
	visit = func(c *cobra.Command, path []string) {
		for _, sub := range c.Commands() {
			if !sub.Hidden && sub.Name() != "help" {
				at := append(append([]string{}, path...), sub.Name())
				lines = append(lines, at)
				visit(sub, at)
			}
		}
	}
	visit(root, nil)
	if len(lines) < 20 {
		t.Fatalf("only %d commands", len(lines))
	}
	for _, line := range append(lines, []string{}) {
		name := strings.Join(append([]string{"culvert"}, line...), " ")
		for _, flag := range []string{"-h", "--help", "--version"} {
			var out, errs bytes.Buffer
			if code := run(append(append([]string{}, line...), flag), &out, &errs); code != 0 || out.Len() == 0 || errs.Len() > 0 {
				t.Errorf("%s %s: exit code %d, %q", name, flag, code, errs.String())
			}
			for text := range strings.Lines(out.String()) {
				if text = strings.TrimSuffix(text, "\n"); flag != "--version" && utf8.RuneCountInString(text) > 80 {
					t.Errorf("%s %s: %d columns: %s", name, flag, utf8.RuneCountInString(text), text)
				}
			}
			// The completion scripts say how to load them.
			if flag == "--help" && !strings.Contains(out.String(), "Example") && (len(line) == 0 || line[0] != "completion") {
				t.Errorf("%s has no example", name)
			}
		}
	}
}

// TestHelpShowsDefaultsAsTheyAreTyped: the time of a flag is one that it takes.
func TestHelpShowsDefaultsAsTheyAreTyped(t *testing.T) {
	for value, want := range map[time.Duration]string{
		10 * time.Second: "10s", 30 * time.Second: "30s", 90 * time.Second: "1m30s", time.Minute: "1m", 10 * time.Minute: "10m",
		90 * time.Minute: "1h30m", 12 * time.Hour: "12h", 20*time.Hour + 30*time.Second: "20h0m30s", 100 * time.Millisecond: "100ms",
	} {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.Duration("time", value, "")
		if got := defaultText(flags.Lookup("time")); got != want {
			t.Errorf("%v: %s, want %s", value, got, want)
		}
	}
}

// shows reports whether a help text has a flag of this name, with or without a value.
func shows(help, name string) bool {
	return regexp.MustCompile("(?m)^ .*--" + regexp.QuoteMeta(name) + `([^\w-]|$)`).MatchString(help)
}

// TestHelpOfFlags: each has one default at most, and what is culvert's own business is not shown.
func TestHelpOfFlags(t *testing.T) {
	for _, c := range newRoot().Commands() {
		var out, errs bytes.Buffer
		if run([]string{c.Name(), "--help"}, &out, &errs); c.Hidden {
			continue
		}
		// A flag's text begins after the last flag's name.
		for text := range strings.SplitSeq(out.String(), "\n  ") {
			if strings.Count(strings.Join(strings.Fields(text), " "), "(default ") > 1 {
				t.Errorf("culvert %s: two defaults:\n%s", c.Name(), text)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if got := shows(out.String(), f.Name); got == f.Hidden && f.Name != "version" { // which the sandbox has, and does not list
				t.Errorf("culvert %s shows --%s: %v, want %v", c.Name(), f.Name, got, !f.Hidden)
			}
		})
	}
}
