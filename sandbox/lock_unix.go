//go:build unix

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// lockDir locks a directory until the result is closed or the process ends. It leaves no file.
func lockDir(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("sandbox directory: %w", err)
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		_ = f.Close()
		return nil, inUse(dir)
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("lock sandbox directory %s: %w", dir, err)
	}
	return f, nil
}
