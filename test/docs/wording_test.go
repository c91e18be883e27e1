package docs

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// stilted are words that have a plainer form in every sentence.
var stilted = map[*regexp.Regexp]string{
	regexp.MustCompile(`(?i)\bwho` + `ever\b`):          "name the actor",
	regexp.MustCompile(`(?i)\btells ` + `whether`):      "reports whether",
	regexp.MustCompile(`(?i)\bfor ` + `ever\b`):         "indefinitely",
	regexp.MustCompile(`(?i)\bhad ` + `better\b`):       "should",
	regexp.MustCompile(`(?i)\bfinds? ` + `back\b`):      "rejoins",
	regexp.MustCompile(`(?i)\bma(kes?|de) ` + `good\b`): "repairs",
	regexp.MustCompile(`(?i)\bbears? ` + `being\b`):     "may be",
}

// unnamed are words that hide who acts.
var unnamed = regexp.MustCompile(`(?i)\b(no|some|any)body\b`)

// TestGuidesNameTheActor looks at the prose and tables of the guides.
func TestGuidesNameTheActor(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range append(pages, "../../README.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if word := unnamed.FindString(line); word != "" {
				t.Errorf("%s:%d: %q: name the actor", page, n+1, word)
			}
		}
	}
}

// TestWordingIsPlain looks at the comments and strings of all Go files, and at the guides. Comments also name the actor.
func TestWordingIsPlain(t *testing.T) {
	const root = "../.."
	files := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() {
			if strings.HasPrefix(name, ".") && path != root || name == "bin" || name == "dist" || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(path)
		if ext != ".go" && ext != ".md" && ext != ".toml" {
			return nil
		}
		files++
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := string(data)
		if ext == ".go" {
			text = goText(data)
			for n, line := range strings.Split(goComments(data), "\n") {
				if word := unnamed.FindString(line); word != "" {
					t.Errorf("%s:%d: %q: name the actor", strings.TrimPrefix(path, root+"/"), n+1, word)
				}
			}
		}
		for n, line := range strings.Split(text, "\n") {
			for word, better := range stilted {
				if word.MatchString(line) {
					t.Errorf("%s:%d: %q: write it plainly (%s)", strings.TrimPrefix(path, root+"/"), n+1, word.FindString(line), better)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}

// goText returns the comments and strings of a Go file, each on its own line of the file.
func goText(src []byte) string { return goTokens(src, token.COMMENT, token.STRING) }

// goComments returns its comments alone: a string may be a user's or a thing's name.
func goComments(src []byte) string { return goTokens(src, token.COMMENT) }

func goTokens(src []byte, kinds ...token.Token) string {
	set := token.NewFileSet()
	file := set.AddFile("", -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, scanner.ScanComments)
	lines := make([]string, file.LineCount()+strings.Count(string(src), "\n")+1)
	for {
		pos, kind, text := s.Scan()
		if kind == token.EOF {
			return strings.Join(lines, "\n")
		}
		if slices.Contains(kinds, kind) {
			first := file.Line(pos) - 1
			for i, part := range strings.Split(text, "\n") {
				lines[first+i] += " " + part
			}
		}
	}
}
