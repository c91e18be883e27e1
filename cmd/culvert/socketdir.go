package main

import (
	"cmp"
	"io"
	"os"

	"github.com/culvert-iot/culvert/internal/filelock"
)

// socketDir is a private directory whose path is short enough for sockets.
type socketDir struct {
	path string

	lock io.Closer // held while the directory is in use
}

// newSocketDir makes a directory whose name begins with prefix. It removes those that killed programs have left.
func newSocketDir(prefix string) (*socketDir, error) {
	base := os.Getenv("XDG_RUNTIME_DIR")
	path, err := os.MkdirTemp(base, prefix+"*")
	if err != nil {
		base = ""
		path, err = os.MkdirTemp(base, prefix+"*")
	}
	if err != nil {
		return nil, err
	}
	lock, err := filelock.Dir(path)
	if err != nil {
		_ = os.RemoveAll(path) //nolint:gosec // G703: the directory is the user's own choice
		return nil, err
	}
	removeStale(cmp.Or(base, os.TempDir()), prefix)
	return &socketDir{path, lock}, nil
}

func (d *socketDir) remove() {
	if d == nil {
		return
	}
	_ = os.RemoveAll(d.path)
	_ = d.lock.Close()
}
