package cachefile

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// File is a file of the cache. The zero value keeps nothing.
type File struct{ path string }

// Open returns the file of a kind of knowledge that belongs to a key. On a system without a cache directory it keeps
// nothing.
func Open(kind string, key ...string) File {
	base, err := os.UserCacheDir()
	if err != nil {
		return File{}
	}
	sum := sha256.Sum256([]byte(strings.Join(key, "\x00")))
	return File{filepath.Join(base, "culvert", kind, hex.EncodeToString(sum[:16]))}
}

// Path returns the file's path; "" if there is none.
func (f File) Path() string { return f.path }

// Read returns the text, and when it was written. Without a regular file of at most limit bytes it returns "" and the
// zero time.
func (f File) Read(limit int64) (text string, written time.Time) {
	info, err := os.Lstat(f.path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return "", time.Time{}
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return "", time.Time{}
	}
	return string(data), info.ModTime()
}

// Write replaces the text, as of a time.
func (f File) Write(text string, written time.Time) {
	dir := filepath.Dir(f.path)
	if f.path == "" || os.MkdirAll(dir, 0o700) != nil {
		return
	}
	file, err := os.CreateTemp(dir, ".new-") // mode 0600
	if err != nil {
		return
	}
	_, err = file.WriteString(text)
	if closeErr := file.Close(); err != nil || closeErr != nil ||
		os.Chtimes(file.Name(), written, written) != nil || os.Rename(file.Name(), f.path) != nil {
		_ = os.Remove(file.Name())
	}
}
