//go:build unix

package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/culvert-iot/culvert/internal/hint"
)

// hasModes reports whether file modes mean something on this system.
const hasModes = true

// openNoFollow opens a file to read it, without waiting where it is a pipe.
func openNoFollow(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) {
		return nil, hint.Wrap(fmt.Errorf("it is a symbolic link: %w", err), "remove it")
	}
	return f, err
}

// foreignOwner returns the file's owner if that is neither root nor this process's user.
func foreignOwner(info fs.FileInfo) (uid uint32, foreign bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Uid == 0 || int(s.Uid) == os.Geteuid() {
		return 0, false
	}
	return s.Uid, true
}

// foreignGroup returns the file's group if that is neither root's nor this process's own.
func foreignGroup(info fs.FileInfo) (gid uint32, foreign bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Gid == 0 || int(s.Gid) == os.Getegid() {
		return 0, false
	}
	return s.Gid, true
}
