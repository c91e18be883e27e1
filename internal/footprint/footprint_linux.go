package footprint

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// unmapText removes the program's code and constants from the process's memory map until they are used
// again. Most of what the start and a handshake used never is, and the kernel maps sixteen pages around
// each that is. The pages stay in the page cache, where they count for no process and are the first to
// be reclaimed. Using one again costs a page fault of less than a microsecond.
//
// It unmaps only read-only mappings of the program's own file without private pages. After relocation
// there are private ones, and dropping them would lose data.
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
		// A failure only means that the memory stays in use.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

type mapping struct{ start, end uintptr }

// fileMappings returns the mappings of a file without private pages, from the text of proc_pid_smaps(5).
func fileMappings(lines *bufio.Scanner, file string) []mapping {
	var found []mapping
	var m mapping
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			m = mapping{}
			// The path may hold spaces, or " (deleted)" after the program was replaced.
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
