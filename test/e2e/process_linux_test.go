package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// processFigure reads a number of /proc/PID/status: VmRSS, VmHWM (both in kB), Threads.
func processFigure(t testing.TB, pid int, field string) (n int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			if _, err := fmt.Sscan(rest, &n); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return n
		}
	}
	t.Fatalf("/proc has no %s", field)
	return 0
}

// residentMemory is what a process has in memory, in bytes.
func residentMemory(t testing.TB, pid int) int { return processFigure(t, pid, "VmRSS") << 10 }
