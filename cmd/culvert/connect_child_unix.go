//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// notifyChildSignals catches the signals that are a command's business. One that this program was started to ignore stays ignored,
// also by the command. SIGPIPE is caught so that it does not end this program; it is not passed on.
func notifyChildSignals(c chan<- os.Signal) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE} {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// isPassedOn reports whether a command does not get the signal anyway: a terminal sends its own to all of its foreground processes.
func isPassedOn(s os.Signal) bool {
	switch s {
	case syscall.SIGPIPE:
		return false
	case os.Interrupt, syscall.SIGQUIT:
		return !inForeground()
	}
	return true
}

// inForeground reports whether the terminal's signals are for this process and its children.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// childExitCode is the exit code that stands for how a command ended: 128 + n for signal n, as shells have it.
func childExitCode(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return s.ExitCode()
}
