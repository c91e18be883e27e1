package check

import (
	"os"
	"syscall"
)

// owner is the user and the group of a file.
func owner(info os.FileInfo) (uid, gid int, known bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(s.Uid), int(s.Gid), true
}

// space is how many bytes are free for others than root in the file system of a directory, and whether it can take
// more files.
func space(dir string) (free uint64, files, known bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil || s.Bsize <= 0 {
		return 0, false, false
	}
	return s.Bavail * uint64(s.Bsize), s.Files == 0 || s.Ffree > 0, true
}
