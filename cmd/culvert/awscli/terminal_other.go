//go:build !unix

package awscli

import "os"

// TerminalWidth tells whether f is a terminal; its columns are not known here.
func TerminalWidth(f any) (int, bool) {
	file, ok := f.(*os.File)
	if !ok {
		return 0, false
	}
	info, err := file.Stat()
	return 0, err == nil && info.Mode()&os.ModeCharDevice != 0
}
