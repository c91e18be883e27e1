//go:build unix

package transfer

import (
	"golang.org/x/sys/unix"
)

// openFlags keep an open from blocking if the file has become a FIFO.
const openFlags = unix.O_NONBLOCK

func freeSpace(dir string) (uint64, bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil || s.Bsize <= 0 {
		return 0, false
	}
	return uint64(s.Bavail) * uint64(s.Bsize), true //nolint:unconvert // the types differ between systems
}
