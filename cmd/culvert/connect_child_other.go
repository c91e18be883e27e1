//go:build !unix

package main

import (
	"os"
	"os/signal"
)

// notifyChildSignals catches Ctrl-C, which the console sends to the command as well.
func notifyChildSignals(c chan<- os.Signal) { signal.Notify(c, os.Interrupt) }

func isPassedOn(os.Signal) bool { return false }

func childExitCode(s *os.ProcessState) int { return s.ExitCode() }
