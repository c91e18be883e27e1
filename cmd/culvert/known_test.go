package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestServicesThatAnsweredAreRemembered(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	k := newKnownServices("key")
	if got := k.list(); got != nil {
		t.Errorf("at first: %q", got)
	}
	for _, s := range []string{"SSH", "WEB", "SSH", "SSH", "DB"} {
		k.add(s)
	}
	if got := newKnownServices("key").list(); !slices.Equal(got, []string{"DB", "SSH", "WEB"}) {
		t.Errorf("%q", got)
	}
	if got := newKnownServices("another").list(); got != nil {
		t.Errorf("of another key: %q", got)
	}
	for range 20 {
		k.add("S" + strings.Repeat("x", len(k.list())))
	}
	if n := len(k.list()); n > maxKnown {
		t.Errorf("%d services are remembered", n)
	}
	old := time.Now().Add(-knownLife - time.Hour)
	if err := os.Chtimes(k.file.Path(), old, old); err != nil {
		t.Fatal(err)
	}
	if got := k.list(); got != nil {
		t.Errorf("after a month: %q", got)
	}
	if err := os.WriteFile(k.file.Path(), []byte("SSH\na b/c\x00\n--x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := k.list(); !slices.Equal(got, []string{"SSH", "a", "--x"}) {
		t.Errorf("of a file of nonsense: %q", got)
	}
}
