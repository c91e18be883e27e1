package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// unmapText takes the program's code and constants out of the process's memory map, until they are used again. Most
// of what the start and a handshake touched never is, and the kernel maps sixteen pages around each that is. The
// pages stay in the page cache, where they count for nobody and are the first to go when memory is short; those that
// are used come back by a fault of less than a microsecond.
//
// Only mappings of the program's own file are meant that cannot be written and have no page of their own, as they
// would after relocation: to drop such a page would lose it.
func unmapText() {
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	for _, m := range fileMappings(bufio.NewScanner(maps), own) {
		// A failure means that memory stays in use as it was.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

type mapping struct{ start, end uintptr }

// fileMappings finds the mappings of a file that hold nothing but what the file does, in the form of proc_pid_smaps(5).
func fileMappings(lines *bufio.Scanner, file string) []mapping {
	var found []mapping
	var m mapping
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			m = mapping{}
			// The path may hold spaces, or " (deleted)" once the program was replaced.
			if len(f) >= 6 && strings.HasSuffix(strings.TrimSuffix(lines.Text(), " (deleted)"), " "+strings.TrimSuffix(file, " (deleted)")) &&
				(f[1] == "r-xp" || f[1] == "r--p") {
				m = parseRange(f[0])
			}
		case len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0" && m.end > m.start:
			found = append(found, m)
			m = mapping{}
		}
	}
	return found
}

func parseRange(s string) mapping {
	from, to, _ := strings.Cut(s, "-")
	start, err := strconv.ParseUint(from, 16, strconv.IntSize)
	if err != nil {
		return mapping{}
	}
	end, err := strconv.ParseUint(to, 16, strconv.IntSize)
	if err != nil {
		return mapping{}
	}
	return mapping{uintptr(start), uintptr(end)}
}
