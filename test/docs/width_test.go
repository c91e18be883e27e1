package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxWidth is how wide a line of prose may be, in characters.
const maxWidth = 100

// TestProseIsWrapped looks at Markdown outside code and tables. A line with a link may be as long as the link makes it.
func TestProseIsWrapped(t *testing.T) {
	const root = "../.."
	pages := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (strings.HasPrefix(name, ".") && name != ".." || name == "bin" || name == "dist") {
			return filepath.SkipDir
		}
		page, err := filepath.Rel(root, path)
		if err != nil || filepath.Ext(page) != ".md" {
			return err
		}
		pages++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, n := range tooWide(string(text)) {
			t.Errorf("%s:%d: wrap at 100 columns", page, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pages < 5 {
		t.Errorf("only %d pages were looked at", pages)
	}
}

// tooWide returns the numbers of the lines that are too wide.
func tooWide(text string) (lines []int) {
	fence, n := "", 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		for _, mark := range []string{"```", "~~~"} {
			if strings.HasPrefix(trimmed, mark) && (fence == "" || fence == mark) {
				fence = map[bool]string{true: mark}[fence == ""]
			}
		}
		prose := fence == "" && !strings.HasPrefix(trimmed, "|") && !strings.Contains(line, "](") && !strings.Contains(line, "://") && !strings.HasPrefix(trimmed, "<")
		if prose && utf8.RuneCountInString(line) > maxWidth {
			lines = append(lines, n)
		}
	}
	return lines
}

func TestTooWide(t *testing.T) {
	long := strings.Repeat("word ", 30)
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"prose":            {long, 1},
		"a list":           {"- " + long, 1},
		"code":             {"```\n" + long + "\n```\n", 0},
		"prose after code": {"```\nx\n```\n" + long, 1},
		"a table":          {"| " + long, 0},
		"a link":           {long + "[here](there.md)", 0},
		"just wide enough": {strings.Repeat("é", maxWidth), 0},
	} {
		if got := len(tooWide(c.text)); got != c.want {
			t.Errorf("%s: %d lines, want %d", name, got, c.want)
		}
	}
}
