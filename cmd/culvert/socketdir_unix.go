//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/filelock"
)

// youngDir bounds the time between the creation of a directory and its lock.
const youngDir = time.Minute

// removeStale removes this user's directories in base whose names begin with prefix, and which no process uses.
func removeStale(base, prefix string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < youngDir {
			continue
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || int(s.Uid) != os.Getuid() {
			continue
		}
		path := filepath.Join(base, e.Name())
		lock, err := filelock.Dir(path)
		if err != nil {
			continue // in use
		}
		_ = os.RemoveAll(path) //nolint:gosec // G703: the directory is the user's own choice
		_ = lock.Close()
	}
}
