//go:build unix

package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// lockFile makes the file and locks it until it is closed, or its process is gone.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: it holds %s", ErrRunning, path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func closeToOthers(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) }
