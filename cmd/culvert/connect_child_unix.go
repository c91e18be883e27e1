//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// notifyChildSignals catches the signals that are meant for a command. A signal that this program was started to ignore
// stays ignored, by the command as well. It also catches SIGPIPE, so that it does not end this program, and does not
// pass it on.
func notifyChildSignals(c chan<- os.Signal) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE} {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// isPassedOn reports whether this program must pass the signal on. A terminal sends its signals to all of its
// foreground processes anyway.
func isPassedOn(s os.Signal) bool {
	switch s {
	case syscall.SIGPIPE:
		return false
	case os.Interrupt, syscall.SIGQUIT:
		return !inForeground()
	}
	return true
}

// inForeground reports whether this process and its children get the terminal's signals.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// childExitCode is the exit code that reports a command's end: 128 + n for signal n, as in shells.
func childExitCode(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return s.ExitCode()
}
