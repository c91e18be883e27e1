package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
)

// packetSize is the size of a read or write. Every SFTP server takes 32 KiB; OpenSSH's takes more, which gains nothing.
const packetSize = 32 << 10

// remote is another machine by SFTP, as a source.
type remote struct {
	c *sftp.Client
}

func (r *remote) Lstat(p string) (fs.FileInfo, error)     { return r.c.Lstat(p) }
func (r *remote) Stat(p string) (fs.FileInfo, error)      { return r.c.Stat(p) }
func (r *remote) ReadDir(p string) ([]fs.FileInfo, error) { return r.c.ReadDir(p) }
func (r *remote) Readlink(p string) (string, error)       { return r.c.ReadLink(p) }
func (r *remote) Real(p string) (string, error)           { return r.c.RealPath(p) }
func (r *remote) Join(dir, name string) string            { return path.Join(dir, name) }
func (r *remote) Open(p string) (reader, error)           { return r.c.Open(p) }

func (r *remote) Beside(p, to string) string {
	if path.IsAbs(to) {
		return to
	}
	return path.Join(path.Dir(p), to)
}

func (r *remote) Base(p string) string {
	if strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..") {
		return "."
	}
	if base := path.Base(p); base != ".." && base != "/" {
		return base
	}
	return "."
}

// remoteTarget is a directory of another machine as a target.
type remoteTarget struct {
	remote

	dir string
}

func (t *remoteTarget) Lstat(p string) (fs.FileInfo, error)    { return t.c.Lstat(t.Full(p)) }
func (t *remoteTarget) Stat(p string) (fs.FileInfo, error)     { return t.c.Stat(t.Full(p)) }
func (t *remoteTarget) Readlink(p string) (string, error)      { return t.c.ReadLink(t.Full(p)) }
func (t *remoteTarget) Open(p string) (reader, error)          { return t.c.Open(t.Full(p)) }
func (t *remoteTarget) Mkdir(p string) error                   { return t.c.Mkdir(t.Full(p)) }
func (t *remoteTarget) Chmod(p string, mode fs.FileMode) error { return t.c.Chmod(t.Full(p), mode) }
func (t *remoteTarget) Chtimes(p string, mtime time.Time) error {
	return t.c.Chtimes(t.Full(p), mtime, mtime)
}
func (t *remoteTarget) Full(p string) string { return path.Join(t.dir, p) }

func (t *remoteTarget) Create(p string) (writer, error) {
	f, err := t.c.OpenFile(t.Full(p), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (t *remoteTarget) Continue(p string) (writer, error) {
	f, err := t.c.OpenFile(t.Full(p), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (t *remoteTarget) Remove(p string) error { return t.c.Remove(t.Full(p)) }

func (t *remoteTarget) Symlink(to, p string) error { return t.c.Symlink(to, t.Full(p)) }

// Rename takes two steps if the server has only the protocol's own rename, which replaces no file.
func (t *remoteTarget) Rename(from, to string) error {
	from, to = t.Full(from), t.Full(to)
	if _, ok := t.c.HasExtension("posix-rename@openssh.com"); ok {
		return t.c.PosixRename(from, to)
	}
	err := t.c.Rename(from, to)
	if err == nil || isLost(err) {
		return err
	}
	if info, statErr := t.c.Lstat(to); statErr != nil || info.IsDir() {
		return err
	}
	if err := t.c.Remove(to); err != nil {
		return err
	}
	return t.c.Rename(from, to)
}

func (t *remoteTarget) Free() (uint64, bool) {
	if _, ok := t.c.HasExtension("statvfs@openssh.com"); !ok {
		return 0, false
	}
	s, err := t.c.StatVFS(t.dir)
	if err != nil || s.Blocks == 0 {
		return 0, false
	}
	return s.Bavail * s.Frsize, true
}

func (t *remoteTarget) Allows(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return errors.New("no file can have this name")
	}
	return nil
}
