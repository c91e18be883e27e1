//go:build !unix

package main

import (
	"os"
	"os/exec"
	"os/signal"
)

// runInstead runs another program on this one's standard streams. Interrupts are that program's business.
func runInstead(path string, argv []string) error {
	signal.Ignore(os.Interrupt)
	cmd := exec.Command(path, argv[1:]...) //nolint:noctx // it ends by itself
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
