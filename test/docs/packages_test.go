package docs

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestPackageCommentsAreInDocGo looks at every package but those of tools/, which have a module of their own.
func TestPackageCommentsAreInDocGo(t *testing.T) {
	const root = "../.."
	documented, all := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if strings.HasPrefix(name, ".") && path != root || name == "bin" || name == "dist" || name == "testdata" || name == "tools" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		all[filepath.Dir(path)] = true
		switch {
		case file.Doc == nil:
		case name == "doc.go":
			documented[filepath.Dir(path)] = true
		default:
			t.Errorf("%s has a package comment: it belongs into doc.go", path)
		}
		return nil
	})
	if err != nil || len(all) < 50 {
		t.Fatalf("%d packages, %v", len(all), err)
	}
	for dir := range all {
		if !documented[dir] {
			t.Errorf("%s has no doc.go with a package comment", dir)
		}
	}
}
