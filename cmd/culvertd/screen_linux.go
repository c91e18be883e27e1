package main

import (
	"os"
	"syscall"
	"unsafe"
)

// screenRows returns the height of the terminal f, 0 if it is not known.
func screenRows(f *os.File) int {
	var size struct{ rows, columns, _, _ uint16 }
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size))) //nolint:gosec // TIOCGWINSZ(2const)
	if errno != 0 {
		return 0
	}
	return int(size.rows)
}
