package session

import (
	"io"
	"io/fs"
	"os"

	"github.com/culvert-iot/culvert/internal/filelock"
	"github.com/culvert-iot/culvert/internal/trust"
)

// fileSystem is the part of package os that the store needs. Tests put failures and crashes into it.
type fileSystem interface {
	MkdirAll(path string, perm fs.FileMode) error
	ReadDir(path string) ([]fs.DirEntry, error)
	CheckDir(path string) error // reports a directory that others can write to
	Read(path string, limit int64) (trust.Private, error)
	Create(path string) (file, error) // new, mode 0600; fails if it exists, be it as a symbolic link
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(path string) error
	LockDir(path string) (io.Closer, error) // until it is closed or the process ends
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
func (osFiles) CheckDir(path string) error                   { return trust.Directory(path) }
func (osFiles) Rename(from, to string) error                 { return os.Rename(from, to) }
func (osFiles) Remove(path string) error                     { return os.Remove(path) }

func (osFiles) LockDir(path string) (io.Closer, error) { return filelock.Dir(path) }

func (osFiles) Read(path string, limit int64) (trust.Private, error) {
	return trust.ReadPrivate(path, limit)
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
