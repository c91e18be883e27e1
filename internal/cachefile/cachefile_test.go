package cachefile

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTextsAreKeptByKeyForTheUserAlone(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // of macOS
	f := Open("kind", "a", "key")
	if text, written := f.Read(100); text != "" || !written.IsZero() {
		t.Errorf("at first: %q of %v", text, written)
	}
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	f.Write("one", time.Now())
	f.Write("two", at)
	if text, written := Open("kind", "a", "key").Read(3); text != "two" || !written.Equal(at) {
		t.Errorf("%q of %v", text, written)
	}
	if text, _ := f.Read(2); text != "" {
		t.Errorf("above the limit: %q", text)
	}
	for _, other := range []File{Open("kind", "ak", "ey"), Open("kin", "a", "key"), Open("kind")} {
		if text, _ := other.Read(100); text != "" {
			t.Errorf("%s: %q", other.Path(), text)
		}
	}
	for path, want := range map[string]os.FileMode{f.Path(): 0o600, filepath.Dir(f.Path()): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(f.Path()), ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestOnlyARegularFileIsRead(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	f := Open("kind", "key")
	f.Write("text", time.Now())
	moved := f.Path() + ".moved"
	if err := os.Rename(f.Path(), moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(moved, f.Path()); err != nil {
		t.Skip(err)
	}
	if text, _ := f.Read(100); text != "" {
		t.Errorf("through a link: %q", text)
	}
}

func TestWithoutADirectoryNothingIsKept(t *testing.T) {
	var f File
	f.Write("text", time.Now())
	if text, _ := f.Read(100); text != "" {
		t.Errorf("%q", text)
	}
}
