// Package trust looks at files as another user of the same machine would: who can read them, change them,
// or put others in their place.
//
// It knows nothing of what is in them. Its errors say what to do, with the command that does it.
package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Private is a file that only its owner may read.
type Private struct {
	Data []byte
	// Was is the file's mode if others could read or change it; it has been set to 0600 then, unless
	// Mend says why not.
	Was  fs.FileMode
	Mend error
}

// ReadPrivate reads at most limit bytes of a secret file. It follows no symbolic link at the end of path,
// and takes neither another thing than a regular file nor one of another user, except root: somebody may
// have put it there. What is looked at is the open file, so that it cannot be exchanged in between.
func ReadPrivate(path string, limit int64) (Private, error) {
	f, err := openNoFollow(path)
	if err != nil {
		return Private{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Private{}, err
	}
	if !info.Mode().IsRegular() {
		return Private{}, fmt.Errorf("it is no regular file (%v)", info.Mode().Type())
	}
	if uid, ok := foreignOwner(info); ok {
		return Private{}, fmt.Errorf("it belongs to user %d: remove it", uid)
	}
	var p Private
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		p.Was, p.Mend = mode, f.Chmod(0o600)
	}
	p.Data, err = io.ReadAll(io.LimitReader(f, limit))
	return p, err
}

// Executable tells whether a command may be run: it must be an executable file that nobody but root and
// this process's own user can change or replace.
func Executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s: put the command there, or correct its path", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file that can be run: correct its path", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s may not be executed: chmod 755 %[1]s", path)
	}
	if info.Mode().Perm()&0o002 != 0 && hasModes {
		return fmt.Errorf("every user of this machine can change %s: chmod o-w %[1]s", path)
	}
	if uid, ok := foreignOwner(info); ok {
		return fmt.Errorf("%s belongs to user %d, who can change it: chown root %[1]s", path, uid)
	}
	return Place(path)
}

// Place tells whether another user can put something else in the place of path, because of one of the
// directories that lead to it: they must belong to root or to this process's user, and not be writable by
// all, unless they are sticky as /tmp is. Symbolic links in path are followed.
func Place(path string) error {
	if !hasModes {
		return nil
	}
	dir := filepath.Dir(path)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return nil //nolint:nilerr // what is not there, or cannot be seen, is its user's own trouble
		}
		if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("every user of this machine can replace what is in %s: chmod o-w %[1]s", dir)
		}
		if uid, ok := foreignOwner(info); ok {
			return fmt.Errorf("%s belongs to user %d, who can replace what is in it: chown root %[1]s", dir, uid)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}

// Directory tells whether others can put files into a directory or take them away, or put another one in its
// place. That they can see names is no trouble: what is in it has modes of its own.
func Directory(path string) error {
	if !hasModes {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if uid, ok := foreignOwner(info); ok {
		return fmt.Errorf("%s belongs to user %d: chown it to culvertd's user", path, uid)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s has mode %04o, which lets others write into it: chmod 700 %[1]s", path, mode)
	}
	return Place(path)
}
