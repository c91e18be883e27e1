package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest   = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	definedTest = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
)

func TestEveryTestThatTheTestingGuideNamesExists(t *testing.T) {
	guide, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	defined := make(map[string]bool)
	err = filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range definedTest.FindAllSubmatch(source, -1) {
			defined[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	security, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := defences(string(security))
	if len(listed) < 12 {
		t.Errorf("only %d defences are listed", len(listed))
	}
	for _, d := range listed {
		if !strings.Contains(string(guide), "| "+d+" | `Test") {
			t.Errorf("docs/testing.md names no test of the defence %q", d)
		}
	}
	named := namedTest.FindAllSubmatch(guide, -1)
	if len(named) < 20 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !defined[string(m[1])] {
			t.Errorf("docs/testing.md names %s, which does not exist", m[1])
		}
	}
}

// defences are the first cells of the security guide's table of defences.
func defences(guide string) (names []string) {
	_, table, _ := strings.Cut(guide, "| defence | how |\n| --- | --- |\n")
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") {
			break
		}
		name, _, _ := strings.Cut(line[2:], " | ")
		names = append(names, name)
	}
	return names
}

// TestPagesForUsersNameNoTests: docs/testing.md says which test shows what; users do not need the names.
func TestPagesForUsersNameNoTests(t *testing.T) {
	pages := []string{"../../README.md"}
	err := filepath.WalkDir("../../docs", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" && entry.Name() != "testing.md" {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil || len(pages) < 15 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if m := namedTest.FindString(line); m != "" {
				t.Errorf("%s:%d: %s belongs in docs/testing.md", strings.TrimPrefix(page, "../../"), n+1, m)
			}
		}
	}
}
