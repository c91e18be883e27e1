//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestDirectoriesOfKilledProgramsAreRemoved(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", base)
	used, err := newSocketDir("culvert-cp-")
	if err != nil {
		t.Fatal(err)
	}
	stale, young, other := filepath.Join(base, "culvert-cp-1"), filepath.Join(base, "culvert-cp-2"), filepath.Join(base, "culvert-3")
	for _, dir := range []string{stale, young, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(stale, "m"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-2 * youngDir)
	for _, dir := range []string{used.path, stale, other} {
		if err := os.Chtimes(dir, before, before); err != nil {
			t.Fatal(err)
		}
	}
	next, err := newSocketDir("culvert-cp-")
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{used.path: true, next.path: true, stale: false, young: true, other: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v", dir, err == nil)
		}
	}
	next.remove()
	used.remove()
	for _, dir := range []string{used.path, next.path} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left behind", dir)
		}
	}
}
