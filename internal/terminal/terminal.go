package terminal

import "os"

// Is reports whether f, an [*os.File], is a terminal. /dev/null and other files and types are not.
func Is(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // a character device too
	return err != nil || !os.SameFile(info, null)
}

// Animated is [Is] for output that moves the cursor or uses colours: it respects TERM=dumb and NO_COLOR
// (no-color.org).
func Animated(f any) bool {
	return os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == "" && Is(f)
}
