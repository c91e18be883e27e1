//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// runInstead becomes another program, which then has the terminal, the signals and the exit code to itself.
func runInstead(path string, argv []string) error {
	return fmt.Errorf("run %s: %w", path, syscall.Exec(path, argv, os.Environ()))
}
