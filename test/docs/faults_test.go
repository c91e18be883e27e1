package docs

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestEveryFaultHasATest compares the first columns of docs/reliability.md, which says what was seen, and of the part of
// docs/testing.md that names the tests.
func TestEveryFaultHasATest(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	_, tested, _ := strings.Cut(read("testing.md"), "\n## Faults\n")
	seen, named := faults(read("reliability.md")), faults(tested)
	if len(seen) < 80 {
		t.Errorf("only %d faults", len(seen))
	}
	for _, f := range seen {
		if !slices.Contains(named, f) {
			t.Errorf("docs/testing.md names no test of %q", f)
		}
	}
	for _, f := range named {
		if !slices.Contains(seen, f) {
			t.Errorf("docs/reliability.md has no %q", f)
		}
	}
}

// faults are the first cells of tables of faults.
func faults(text string) (names []string) {
	inside := false
	for line := range strings.Lines(text) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		switch {
		case !strings.HasPrefix(line, "|"):
			inside = false
		case first == "fault" || first == "question" || first == "what meets the rotation":
			inside = true
		case inside && first != "---":
			names = append(names, first)
		}
	}
	return names
}
