package harness

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// Figure reads a number of /proc/PID/FILE, such as VmRSS and VmHWM of status or Pss of smaps_rollup, in
// kB, or Threads of status.
func Figure(pid int, file, field string) (n int, err error) {
	path := fmt.Sprintf("/proc/%d/%s", pid, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			if _, err := fmt.Sscan(rest, &n); err != nil {
				return 0, fmt.Errorf("%s of %s: %w", field, path, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s has no field %s", path, field)
}

// ProcessorTime is what a process has used, to a hundredth of a second.
func ProcessorTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// proc_pid_stat(5): fields 14 and 15, counted after the name, which ends with the last bracket.
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var user, system int
	if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

// Descriptors is how many file descriptors a process has open.
func Descriptors(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries), err
}
