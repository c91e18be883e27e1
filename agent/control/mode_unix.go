//go:build unix

package control

import "syscall"

func closeToOthers(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) }
