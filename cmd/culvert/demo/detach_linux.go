package demo

import (
	"os/exec"
	"syscall"
)

// detach gives the child a process group of its own, so that a Ctrl-C at the terminal reaches this program alone, which
// then ends the child in order; and has the kernel end it should this program be killed.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
