//go:build unix

package setup

import (
	"io/fs"
	"os"
	"syscall"
)

// isPrivate reports whether only this user can read and write a file.
func isPrivate(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && info.Mode().Perm()&0o077 == 0
}
