package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// spaceNeeded is ample for the tokens of all tunnels; below spaceWanted the disk is nearly full.
	spaceNeeded = 1 << 20
	spaceWanted = 10 << 20

	elsewhere = ", or set tunnel.state_dir"
)

// stateDirectory reports whether tokens survive a restart. The daemon runs without, too. A disk that
// hangs may block a call indefinitely, so the other checks do not wait for it.
func (c *checkup) stateDirectory(ctx context.Context) []*Result {
	const id = "state"
	dir := c.cfg.Tunnel.StateDir
	if dir == "" {
		return []*Result{well(id, "none: a restart loses the tunnels, whose tokens are only in memory")}
	}
	limited, cancel := context.WithTimeout(ctx, diskLimit)
	defer cancel()
	done := make(chan *Result, 1)
	go func() { done <- c.state(id, dir) }()
	select {
	case r := <-done:
		return []*Result{r}
	case <-limited.Done():
		return []*Result{failed(id, "check the disk"+elsewhere, "%s does not answer", dir)}
	}
}

func (c *checkup) state(id, dir string) *Result {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.missingState(id, dir)
	case err != nil:
		return failed(id, "run the check as root, or as the user that runs the daemon", "%v", err)
	case !info.IsDir():
		return failed(id, "remove it"+elsewhere, "%s is not a directory", dir)
	}
	if c.user != nil && c.user.uid != superuser && c.EUID() == superuser {
		if at, ok := c.user.reach(dir, mayRead|mayWrite|mayEnter); !ok {
			return failed(id, fmt.Sprintf("chown %s %s%s", c.user.name, at, elsewhere), "%s, which runs the daemon, cannot write to %s", c.user.name, describe(at))
		}
	}
	if err := c.tryWrite(dir); err != nil {
		if errors.Is(err, fs.ErrPermission) && c.user != nil && c.user.uid != c.EUID() {
			return warning(id, "run the check as root, or as "+c.user.name, "this user may not write to %s", describe(dir))
		}
		return failed(id, writeRemedy(err, dir)+elsewhere, "%s cannot be written to: %v", describe(dir), reason(err))
	}
	free, files, known := space(dir)
	text := describe(dir)
	if known {
		text += ", " + size(free) + " free"
	}
	switch {
	case known && !files:
		return failed(id, "remove some files"+elsewhere, "%s: its file system has no room for more files", text)
	case known && free < spaceNeeded:
		return failed(id, "free some space", "%s: too little for tokens", text)
	case known && free < spaceWanted:
		return warning(id, "free some space", "%s", text)
	case info.Mode().Perm()&0o077 != 0:
		return warning(id, "chmod 700 "+dir, "%s: others can read it", text)
	}
	return well(id, "%s", text)
}

// missingState checks whether the daemon, or systemd for it, can create the directory.
func (c *checkup) missingState(id, dir string) *Result {
	parent := filepath.Dir(dir)
	for parent != filepath.Dir(parent) {
		if _, err := os.Stat(parent); err == nil {
			break
		}
		parent = filepath.Dir(parent)
	}
	who := c.user
	if who == nil && c.EUID() == superuser || who != nil && who.uid == superuser {
		return well(id, "%s is made at the first start", dir)
	}
	if who == nil {
		if unwritable(parent) {
			return warning(id, fmt.Sprintf("make it for the user that runs the daemon: install -d -m 700 -o USER %s", dir),
				"%s is missing, and this user cannot make it", dir)
		}
		return well(id, "%s is made at the first start", dir)
	}
	if at, ok := who.reach(parent, mayWrite|mayEnter); !ok {
		if u := c.unit(); u != nil && u.stateDirectory {
			return well(id, "%s is made by systemd at the first start", dir)
		}
		return failed(id, fmt.Sprintf("install -d -m 700 -o %s %s", who.name, dir),
			"%s is missing, and %s, which runs the daemon, may not make it in %s", dir, who.name, at)
	}
	return well(id, "%s is made at the first start", dir)
}

// tryWrite writes as the daemon does: a file of mode 0600 that reaches the disk.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// unwritable reports that this user cannot create a file in dir.
func unwritable(dir string) bool {
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return true
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) != nil
}

func writeRemedy(err error, dir string) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read only: use another"
	case errors.Is(err, fs.ErrPermission):
		return "let the daemon's user write to " + dir + " (mode 0700)"
	}
	return "check the disk"
}

// reason drops the path from a file's error: the text has it already.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func size(n uint64) string {
	switch {
	case n >= 10e9:
		return fmt.Sprintf("%d GB", n/1e9)
	case n >= 10e6:
		return fmt.Sprintf("%d MB", n/1e6)
	}
	return fmt.Sprintf("%d kB", n/1e3)
}

func exists(path string) error {
	_, err := os.Lstat(path)
	return err
}
