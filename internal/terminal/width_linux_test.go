package terminal_test

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/internal/terminal"
)

func TestWidth(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	defer pty.Close()
	if err := unix.IoctlSetWinsize(int(pty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 93}); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if columns, ok := terminal.Width(pty); columns != 93 || !ok {
		t.Errorf("a terminal of 93 columns: %d, %v", columns, ok)
	}
	for name, f := range map[string]any{"the null device": null, "a buffer": new(bytes.Buffer), "nothing": nil} {
		if columns, ok := terminal.Width(f); columns != 0 || ok {
			t.Errorf("%s: %d, %v", name, columns, ok)
		}
	}
}
