package session

import (
	"io"
	"io/fs"
	"os"
)

// fileSystem is the part of package os that the store needs. Tests put failures and crashes into it.
type fileSystem interface {
	MkdirAll(path string, perm fs.FileMode) error
	ReadDir(path string) ([]fs.DirEntry, error)
	Lstat(path string) (fs.FileInfo, error)
	Read(path string, limit int64) ([]byte, error) // at most limit bytes
	Create(path string) (file, error)              // new, mode 0600; fails if it exists
	Chmod(path string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(path string) error
}

type file interface {
	io.Writer
	Sync() error
	Close() error
}

// osFiles is the real file system.
type osFiles struct{}

func (osFiles) MkdirAll(path string, perm fs.FileMode) error { return os.MkdirAll(path, perm) }
func (osFiles) ReadDir(path string) ([]fs.DirEntry, error)   { return os.ReadDir(path) }
func (osFiles) Lstat(path string) (fs.FileInfo, error)       { return os.Lstat(path) }
func (osFiles) Chmod(path string, perm fs.FileMode) error    { return os.Chmod(path, perm) }
func (osFiles) Rename(from, to string) error                 { return os.Rename(from, to) }
func (osFiles) Remove(path string) error                     { return os.Remove(path) }

func (osFiles) Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func (osFiles) Create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// SyncDir makes a rename in the directory survive a power failure.
func (osFiles) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
