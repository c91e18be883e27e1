package layering

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// matches reports whether path is pattern, or below it when pattern ends in /...
func matches(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	if base, below := strings.CutSuffix(pattern, "/..."); below {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

func anyMatches(patterns []string, path string) bool {
	for _, p := range patterns {
		if matches(p, path) {
			return true
		}
	}
	return false
}

func isThirdParty(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

// check returns what is wrong with one package's imports, a sentence each. Paths of the module come
// without its name.
func check(pkg string, imports []string) []string {
	var complaints []string
	var rule *layer
	for i := range layers {
		if matches(layers[i].packages, pkg) {
			rule = &layers[i]
			break
		}
	}
	if rule == nil {
		return []string{fmt.Sprintf("package %s has no layer: add it to the table in test/layering", pkg)}
	}
	for _, path := range imports {
		if own, ok := strings.CutPrefix(path, module); ok {
			if !anyMatches(rule.may, own) {
				complaints = append(complaints, fmt.Sprintf("package %s imports %s, and may import %s: %s", pkg, own, list(rule.may, "nothing of the module"), rule.why))
			}
		} else if isThirdParty(path) {
			if c := checkThirdParty(pkg, path); c != "" {
				complaints = append(complaints, c)
			}
		}
	}
	return complaints
}

func checkThirdParty(pkg, path string) string {
	for _, h := range homes {
		if !matches(h.imports, path) {
			continue
		}
		if anyMatches(h.packages, pkg) {
			return ""
		}
		return fmt.Sprintf("package %s imports %s, whose home is %s: %s", pkg, path, list(h.packages, "nowhere"), h.why)
	}
	return fmt.Sprintf("package %s imports %s, which has no home: is it worth its size? Then add it to the table in test/layering", pkg, path)
}

func list(patterns []string, none string) string {
	if len(patterns) == 0 {
		return none
	}
	return strings.Join(patterns, ", ")
}

func TestEveryPackageImportsOnlyWhatItsLayerMay(t *testing.T) {
	packages := 0
	for _, pkg := range goList[struct {
		ImportPath string
		Imports    []string
	}](t, nil, "-json=ImportPath,Imports", "./...") {
		packages++
		for _, complaint := range check(strings.TrimPrefix(pkg.ImportPath, module), pkg.Imports) {
			t.Error(complaint)
		}
	}
	if packages < 5 {
		t.Errorf("only %d packages seen", packages)
	}
}

func TestTheBinariesLinkOnlyWhatTheyNeed(t *testing.T) {
	for binary, forbidden := range unlinked {
		t.Run(binary, func(t *testing.T) {
			if files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(binary), "*.go")); err != nil || len(files) == 0 {
				t.Skip("not there yet")
			}
			// The smallest device counts: build constraints may differ.
			env := []string{"GOOS=linux", "GOARCH=arm", "GOARM=6", "CGO_ENABLED=0"}
			for _, dep := range goList[struct{ ImportPath string }](t, env, "-deps", "-json=ImportPath", "./"+binary) {
				for _, f := range forbidden {
					if matches(f.imports, dep.ImportPath) {
						t.Errorf("%s links %s: %s", binary, dep.ImportPath, f.why)
					}
				}
			}
		})
	}
}

const root = "../.."

// goList runs go list on the module and decodes what it prints.
func goList[T any](t *testing.T, env []string, args ...string) []T {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []T
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var one T
		if err := d.Decode(&one); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

// A test that sleeps is slow or flaky, unless it sleeps in a synctest bubble: a package whose tests
// use none may not sleep, and neither may any product.
func TestNoTestSleepsOutsideABubble(t *testing.T) {
	sleepers, bubbles := make(map[string]string), make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		group := filepath.Dir(path)
		if strings.HasSuffix(path, "_test.go") {
			group += " in tests"
		}
		for _, spec := range file.Imports {
			bubbles[group] = bubbles[group] || spec.Path.Value == `"testing/synctest"`
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
					sleepers[group] = path
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for group, path := range sleepers {
		if !bubbles[group] {
			t.Errorf("%s calls time.Sleep: wait for a condition, use backoff.Sleep, or a testing/synctest bubble", path)
		}
	}
}

func TestTheRulesCanFail(t *testing.T) {
	for _, tt := range []struct {
		name, pkg, imports, want string
	}{
		{"a part below imports one above", "proxy/frame", module + "proxy/stream", "package proxy/frame imports proxy/stream, and may import nothing of the module: the codec is pure"},
		{"the operator's side imports the device's", "operator", module + "agent/session", "package operator imports agent/session"},
		{"the sandbox imports what it judges", "sandbox/relay", module + "proxy/stream", "package sandbox/relay imports proxy/stream"},
		{"a module away from home", "agent/session", "github.com/gorilla/websocket", "whose home is proxy/wsconn, sandbox/relay"},
		{"protobuf beyond the wire", "proxy/frame", "google.golang.org/protobuf/proto", "generated protobuf"},
		{"an unknown module", "services", "example.com/x/y", "which has no home"},
		{"an unknown package", "utils", "fmt", "package utils has no layer"},
		{"the standard library is free", "services", "net/http", ""},
		{"a path that only starts alike", "proxy", module + "proxy/framework", "package proxy imports proxy/framework"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(check(tt.pkg, []string{tt.imports}), "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("complaint = %q, want %q", got, tt.want)
			}
		})
	}
}
