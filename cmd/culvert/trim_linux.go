package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// trimMemory gives back memory that an idle process does not need: free heap, and the pages of the program's own file
// that its start has touched. The kernel reads those again from its cache when the program uses them.
func trimMemory() {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	var from, to uintptr // of a mapping that cannot be written to
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 6 && strings.Contains(f[0], "-"):
			from, to = 0, 0
			if strings.Join(f[5:], " ") == self && len(f[1]) == 4 && f[1][1] == '-' && f[1][3] == 'p' {
				_, _ = fmt.Sscanf(f[0], "%x-%x", &from, &to)
			}
		// Pages that the dynamic linker changed before it made them read-only are anonymous, and not in the file.
		case len(f) >= 2 && f[0] == "Anonymous:" && f[1] == "0" && to > from:
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
