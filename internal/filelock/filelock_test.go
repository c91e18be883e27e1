package filelock

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsLockedOnceUntilItIsClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lockedOnce(t, path, Lock)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestADirectoryIsLockedOnceUntilItIsClosed(t *testing.T) {
	dir := t.TempDir()
	lockedOnce(t, dir, Dir)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func lockedOnce(t *testing.T, path string, lock func(string) (io.Closer, error)) {
	t.Helper()
	for range 2 {
		first, err := lock(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lock(path); !errors.Is(err, ErrLocked) {
			t.Errorf("a second lock: %v", err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALinkIsNoLock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
}
