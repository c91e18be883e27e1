//go:build unix

package hook

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the command the head of a process group, so that what it started is killed with it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
