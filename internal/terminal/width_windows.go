package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

// Width returns the columns of f, an [*os.File], and false if it is not a terminal.
func Width(f any) (columns int, ok bool) {
	if !Is(f) {
		return 0, false
	}
	file, _ := f.(*os.File)
	var info windows.ConsoleScreenBufferInfo
	if windows.GetConsoleScreenBufferInfo(windows.Handle(file.Fd()), &info) != nil {
		return 0, false
	}
	return int(info.Window.Right-info.Window.Left) + 1, true
}
