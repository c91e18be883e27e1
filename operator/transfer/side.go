package transfer

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// source is the side that a copy reads. Its paths are whole paths in the form of its side.
type source interface {
	// Lstat describes a link itself, Stat the file that it leads to.
	Lstat(path string) (fs.FileInfo, error)
	Stat(path string) (fs.FileInfo, error)
	// ReadDir lists a directory in no order, without following links.
	ReadDir(path string) ([]fs.FileInfo, error)
	Readlink(path string) (string, error)
	// Real is the path without links.
	Real(path string) (string, error)
	Open(path string) (reader, error)
	Join(dir, name string) string
	// Beside resolves to relative to the link at path.
	Beside(path, to string) string
	// Base is the last name in path; "." if it names a directory by other means, such as "..", "dir/." or a root.
	Base(path string) string
}

// reader is safe for concurrent use.
type reader interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// target is the side that a copy writes, below one directory. Its paths are relative to that directory, with slashes.
type target interface {
	Lstat(path string) (fs.FileInfo, error)
	Stat(path string) (fs.FileInfo, error)
	Readlink(path string) (string, error)
	// Create makes a file that must not exist yet. The side's umask applies to its mode, 0666.
	Create(path string) (writer, error)
	// Continue opens an existing file.
	Continue(path string) (writer, error)
	Open(path string) (reader, error)
	// Rename replaces an existing file.
	Rename(from, to string) error
	Remove(path string) error
	Mkdir(path string) error
	Symlink(to, path string) error
	Chmod(path string, mode fs.FileMode) error
	Chtimes(path string, mtime time.Time) error
	// Free returns the free bytes, and whether they are known.
	Free() (uint64, bool)
	// Full is the whole path, for messages and for the shell that hashes.
	Full(path string) string
	// Allows returns an error if the side cannot have a file of that name.
	Allows(name string) error
}

// writer is safe for concurrent use.
type writer interface {
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

// permissions are the part of a mode that a copy keeps: no set-user-ID bit travels between machines.
const permissions fs.FileMode = 0o777

func isRegular(info fs.FileInfo) bool { return info.Mode().IsRegular() }

func isLink(info fs.FileInfo) bool { return info.Mode()&os.ModeSymlink != 0 }
