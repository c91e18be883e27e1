package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTroubleshootingShowsMessagesOfThePrograms: what a user searches for must be what the programs say.
func TestTroubleshootingShowsMessagesOfThePrograms(t *testing.T) {
	guide, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, root := range []string{"../../agent", "../../proxy", "../../services", "../../operator", "../../cmd", "../../internal"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok {
					if s, ok := literal(e); ok {
						all.WriteString(s + "\n")
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	for line := range strings.Lines(string(guide)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		for i, part := range strings.Split(first, "`") {
			if i%2 == 0 || strings.Contains(first, "the service's words") {
				continue
			}
			rows++
			if !strings.Contains(all.String(), part) {
				t.Errorf("docs/troubleshooting.md has %q, which no program says", part)
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d messages", rows)
	}
}

// TestDiagnosesOfMQTTCanBeLookedUp: what the daemon says of its MQTT connection is in the guide, by the beginning of the
// remedy or of the problem.
func TestDiagnosesOfMQTTCanBeLookedUp(t *testing.T) {
	guide, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "../../agent/notify/hints.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var messages []string
	for line := range strings.Lines(string(guide)) {
		if first, _, found := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); found && strings.HasPrefix(line, "| `") {
			messages = append(messages, first)
		}
	}
	checked := 0
	ast.Inspect(f, func(n ast.Node) bool {
		r, ok := n.(*ast.ReturnStmt)
		if !ok || len(r.Results) != 1 {
			return true
		}
		e := r.Results[0]
		for {
			b, ok := e.(*ast.BinaryExpr)
			if !ok {
				break
			}
			e = b.X
		}
		s, ok := literal(e)
		if !ok || s == "" {
			return true
		}
		checked++
		for _, m := range messages {
			if strings.Contains(s, m) {
				return true
			}
		}
		t.Errorf("%s: %q is not in docs/troubleshooting.md", files.Position(r.Pos()), s)
		return true
	})
	if checked < 10 {
		t.Errorf("only %d remedies were found", checked)
	}
}
