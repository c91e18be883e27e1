package e2e

import (
	"testing"

	"github.com/culvert-iot/culvert/test/harness"
)

// processFigure reads a number of /proc/PID/status: VmRSS, VmHWM (both in kB), Threads.
func processFigure(t testing.TB, pid int, field string) (n int) {
	t.Helper()
	n, err := harness.Figure(pid, "status", field)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// residentMemory is what a process has in memory, in bytes.
func residentMemory(t testing.TB, pid int) int { return processFigure(t, pid, "VmRSS") << 10 }
