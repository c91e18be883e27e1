package transfer

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// localSource is this machine as a source.
type localSource struct{}

func (localSource) Lstat(path string) (fs.FileInfo, error) { return os.Lstat(path) }
func (localSource) Stat(path string) (fs.FileInfo, error)  { return os.Stat(path) }
func (localSource) Readlink(path string) (string, error)   { return os.Readlink(path) }
func (localSource) Join(dir, name string) string           { return filepath.Join(dir, name) }

func (localSource) Beside(path, to string) string {
	if filepath.IsAbs(to) {
		return to
	}
	return filepath.Join(filepath.Dir(path), to)
}

func (localSource) Real(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// Open is only called for a path that was a regular file a moment ago. It must not block if that is a FIFO by now.
func (localSource) Open(path string) (reader, error) {
	return os.OpenFile(path, os.O_RDONLY|openFlags, 0)
}

func (localSource) ReadDir(path string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	list := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if os.IsNotExist(err) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

func (localSource) Base(path string) string {
	slashed := filepath.ToSlash(path)
	if strings.HasSuffix(slashed, "/.") || strings.HasSuffix(slashed, "/..") {
		return "."
	}
	if base := filepath.Base(path); base != ".." && base != string(filepath.Separator) {
		return base
	}
	return "."
}

// localTarget is a directory of this machine as a target. No link leads a write out of it, neither one that the other
// side sends nor one that exists.
type localTarget struct {
	root *os.Root
}

func openLocalTarget(dir string) (*localTarget, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &localTarget{root}, nil
}

func (t *localTarget) Close() error { return t.root.Close() }

func (t *localTarget) Lstat(path string) (fs.FileInfo, error) { return t.root.Lstat(local(path)) }
func (t *localTarget) Stat(path string) (fs.FileInfo, error)  { return t.root.Stat(local(path)) }
func (t *localTarget) Readlink(path string) (string, error)   { return t.root.Readlink(local(path)) }
func (t *localTarget) Remove(path string) error               { return t.root.Remove(local(path)) }
func (t *localTarget) Mkdir(path string) error                { return t.root.Mkdir(local(path), permissions) }

func (t *localTarget) Symlink(to, path string) error { return t.root.Symlink(to, local(path)) }

func (t *localTarget) Rename(from, to string) error { return t.root.Rename(local(from), local(to)) }

func (t *localTarget) Create(path string) (writer, error) {
	return t.root.OpenFile(local(path), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

func (t *localTarget) Continue(path string) (writer, error) {
	return t.root.OpenFile(local(path), os.O_RDWR|openFlags, 0)
}

func (t *localTarget) Open(path string) (reader, error) {
	return t.root.OpenFile(local(path), os.O_RDONLY|openFlags, 0)
}

func (t *localTarget) Chmod(path string, mode fs.FileMode) error {
	return t.root.Chmod(local(path), mode)
}

func (t *localTarget) Chtimes(path string, mtime time.Time) error {
	return t.root.Chtimes(local(path), mtime, mtime)
}

func (t *localTarget) Free() (uint64, bool) { return freeSpace(t.root.Name()) }

func (t *localTarget) Full(path string) string { return filepath.Join(t.root.Name(), local(path)) }

func (t *localTarget) Allows(name string) error {
	if name != filepath.Base(name) || !filepath.IsLocal(name) {
		return fmt.Errorf("no file of this system can have the name %q", name)
	}
	return nil
}

func local(path string) string { return filepath.FromSlash(path) }
