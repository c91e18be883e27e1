//go:build !unix

package awscli

import "os"

// TerminalWidth reports whether f is a terminal. Its columns are unknown here.
func TerminalWidth(f any) (int, bool) {
	file, ok := f.(*os.File)
	if !ok {
		return 0, false
	}
	info, err := file.Stat()
	return 0, err == nil && info.Mode()&os.ModeCharDevice != 0
}
