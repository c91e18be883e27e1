package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheListOfFailuresIsTrueAtEachMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "todo")
	const before = "# mine, longer than the new list is going to be\npi-9\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	want := func(text string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	if err := checkFailed(path); err != nil {
		t.Fatal(err)
	}
	want(before)
	l, err := beginFailed(path, []string{"pi-1", "pi-2", "pi-3"})
	if err != nil {
		t.Fatal(err)
	}
	want(" pi-1\n pi-2\n pi-3\n")
	l.succeeded("pi-2")
	want(" pi-1\n#pi-2\n pi-3\n")
	if err := l.finish([]string{"pi-1", "pi-3"}); err != nil {
		t.Fatal(err)
	}
	want("pi-1\npi-3\n")
	missing := filepath.Join(filepath.Dir(path), "missing")
	if err := checkFailed(missing); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(missing); err == nil {
		t.Error("the trial leaves a file")
	}
	if err := checkFailed(filepath.Join(missing, "todo")); err == nil {
		t.Error("a file in no directory is taken")
	}
}
