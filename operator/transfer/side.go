package transfer

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// source is what is copied from. Its paths are whole paths in the form of its side.
type source interface {
	// Lstat describes the file itself, Stat what a link leads to.
	Lstat(path string) (fs.FileInfo, error)
	Stat(path string) (fs.FileInfo, error)
	// ReadDir lists a directory in no order, without following links.
	ReadDir(path string) ([]fs.FileInfo, error)
	Readlink(path string) (string, error)
	// Real is the path without links.
	Real(path string) (string, error)
	Open(path string) (reader, error)
	Join(dir, name string) string
	// Beside is the path of to as the link at path means it.
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

// target is what is copied to, below one directory. Its paths are relative to that directory, with slashes.
type target interface {
	Lstat(path string) (fs.FileInfo, error)
	Stat(path string) (fs.FileInfo, error)
	Readlink(path string) (string, error)
	// Create makes a file that must not exist. Its mode is what the side's umask leaves of 0666.
	Create(path string) (writer, error)
	// Continue opens a file that exists.
	Continue(path string) (writer, error)
	Open(path string) (reader, error)
	// Rename replaces what is there.
	Rename(from, to string) error
	Remove(path string) error
	Mkdir(path string) error
	Symlink(to, path string) error
	Chmod(path string, mode fs.FileMode) error
	Chtimes(path string, mtime time.Time) error
	// Free is how many bytes there is room for, and reports whether that is known.
	Free() (uint64, bool)
	// Full is the whole path, for messages and for the shell that hashes.
	Full(path string) string
	// Allows returns an error if the side can have no file of that name.
	Allows(name string) error
}

// writer is safe for concurrent use.
type writer interface {
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

// permissions are what a copy keeps of a mode: no set-user-ID bit travels from one machine to another.
const permissions fs.FileMode = 0o777

func isRegular(info fs.FileInfo) bool { return info.Mode().IsRegular() }

func isLink(info fs.FileInfo) bool { return info.Mode()&os.ModeSymlink != 0 }
