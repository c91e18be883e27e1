//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// Width returns the columns of f, an [*os.File], and false if it is not a terminal.
func Width(f any) (columns int, ok bool) {
	if !Is(f) {
		return 0, false
	}
	file, _ := f.(*os.File)
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Col), true
}
