package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// logCall is one place in the source that logs.
type logCall struct {
	place   string
	message string
	keys    []string
}

// daemonPackages are what runs on a device.
var daemonPackages = []string{"../../agent", "../../proxy", "../../services", "../../cmd/culvertd", "../../internal/netdial", "../../internal/tlsdial"}

// literals are all texts in the daemon's packages: some messages are chosen before they are logged.
func literals(t *testing.T) map[string]bool {
	t.Helper()
	texts := make(map[string]bool)
	walk(t, func(_ *token.FileSet, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if s, ok := literal(e); ok {
					texts[s] = true
				}
			}
			return true
		})
	})
	return texts
}

// walk parses the daemon's packages.
func walk(t *testing.T, visit func(*token.FileSet, *ast.File)) {
	t.Helper()
	files := token.NewFileSet()
	for _, root := range daemonPackages {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			visit(files, f)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// logCalls finds the calls of a logger in the daemon's packages: log.Warn("message", "key", value, ...), and those of
// proxy/stream's own warn(kind, "message", "key", value, ...).
func logCalls(t *testing.T) []logCall {
	t.Helper()
	var calls []logCall
	walk(t, func(files *token.FileSet, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if c, ok := logCallOf(call); ok {
					c.place = files.Position(call.Pos()).String()
					calls = append(calls, c)
				}
			}
			return true
		})
	})
	return calls
}

func logCallOf(call *ast.CallExpr) (logCall, bool) {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return logCall{}, false
	}
	at, known := map[string]int{"Info": 0, "Warn": 0, "Error": 0, "warn": 1, "Log": 2}[fun.Sel.Name]
	if !known || len(call.Args) <= at {
		return logCall{}, false
	}
	message, ok := literal(call.Args[at])
	if !ok {
		return logCall{}, false
	}
	c := logCall{message: message}
	for i := at + 1; i < len(call.Args); i += 2 {
		if key, ok := literal(call.Args[i]); ok {
			c.keys = append(c.keys, key)
		}
	}
	return c, true
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// inCode are the words that a guide has between backquotes in its tables' first column.
func inCode(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		for i, part := range strings.Split(first, "`") {
			if i%2 == 1 {
				found[part] = true
			}
		}
	}
	return found
}

func TestEveryLineOfTheLogIsInTheGuide(t *testing.T) {
	guide := inCode(t, "../../docs/logging.md")
	calls := logCalls(t)
	if len(calls) < 40 {
		t.Fatalf("only %d calls were found", len(calls))
	}
	for _, c := range calls {
		if !guide[c.message] {
			t.Errorf("%s: %q is not in docs/logging.md", c.place, c.message)
		}
		for _, key := range c.keys {
			if !guide[key] {
				t.Errorf("%s: the field %s of %q is not in docs/logging.md", c.place, key, c.message)
			}
		}
	}
	texts := literals(t)
	for word := range guide {
		if strings.Contains(word, " ") && !texts[word] {
			t.Errorf("docs/logging.md has %q, which nothing logs", word)
		}
	}
}
