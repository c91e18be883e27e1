package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
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
