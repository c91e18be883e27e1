//go:build unix

package awscli

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalWidth returns the columns of a terminal. It returns false if f is not one.
func TerminalWidth(f any) (int, bool) {
	file, ok := f.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Col), true
}
