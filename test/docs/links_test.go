package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// pageLinks returns the targets of a page's links, without code, and the anchors of its headings.
func pageLinks(text string) (targets []string, anchors map[string]bool) {
	var prose strings.Builder
	anchors = map[string]bool{}
	code := false
	for line := range strings.Lines(text) {
		switch title, heading := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			code = !code
		case code:
		case heading && line[0] == '#':
			anchors[anchor(title)] = true
		default:
			prose.WriteString(line)
		}
	}
	for _, m := range linkTarget.FindAllStringSubmatch(prose.String(), -1) {
		targets = append(targets, m[1])
	}
	return targets, anchors
}

// anchor is what GitHub makes of a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(title))
}

// TestLinksLeadSomewhere looks at links within the repository. Every page of docs/ must be within reach of docs/README.md.
func TestLinksLeadSomewhere(t *testing.T) {
	const root = "../.."
	type page struct {
		links   []string // other pages, as paths below root
		anchors map[string]bool
	}
	type reference struct{ from, to, anchor string }
	pages := map[string]page{}
	var references []reference
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (strings.HasPrefix(name, ".") && path != root || name == "bin" || name == "dist" || name == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		targets, anchors := pageLinks(string(text))
		p := page{anchors: anchors}
		for _, target := range targets {
			if strings.Contains(target, "://") {
				continue
			}
			file, fragment, _ := strings.Cut(target, "#")
			to := name
			if file != "" {
				to = filepath.Join(filepath.Dir(name), file)
			}
			info, err := os.Stat(filepath.Join(root, to))
			if err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, target)
				continue
			}
			if info.IsDir() {
				to = filepath.Join(to, "README.md")
			}
			p.links = append(p.links, to)
			references = append(references, reference{name, to, fragment})
		}
		pages[name] = p
		return nil
	})
	if err != nil || len(references) < 100 {
		t.Fatalf("%d links, %v", len(references), err)
	}
	for _, r := range references {
		if r.anchor != "" && !pages[r.to].anchors[r.anchor] {
			t.Errorf("%s: %s has no heading #%s", r.from, r.to, r.anchor)
		}
	}
	reached := map[string]bool{}
	next := []string{"docs/README.md"}
	for len(next) > 0 {
		name := next[0]
		next = next[1:]
		if !reached[name] {
			reached[name] = true
			next = append(next, pages[name].links...)
		}
	}
	// The index names the pages beside it itself: a page that only another page links to is hard to find.
	listed := map[string]bool{}
	for _, to := range pages["docs/README.md"].links {
		listed[to] = true
	}
	for name := range pages {
		switch {
		case !strings.HasPrefix(name, "docs/"), name == "docs/README.md":
		case !reached[name]:
			t.Errorf("%s: no way from docs/README.md leads here", name)
		case filepath.Dir(name) == "docs" && !listed[name]:
			t.Errorf("%s: docs/README.md does not list it", name)
		}
	}
}
