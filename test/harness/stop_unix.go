//go:build unix

package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Stop stops a process, and waits until none of its threads runs: the signal reaches them one after the other.
// Without /proc it does not wait.
func Stop(pid int, limit time.Duration) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	if !Poll(limit, func() bool { return !threadRuns(pid) }) {
		return fmt.Errorf("process %d was still running after %v", pid, limit)
	}
	return nil
}

func threadRuns(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return slices.ContainsFunc(threads, func(name string) bool {
		stat, err := os.ReadFile(name)
		_, state, found := strings.Cut(string(stat), ") ")
		return err == nil && found && !strings.HasPrefix(state, "T")
	})
}
