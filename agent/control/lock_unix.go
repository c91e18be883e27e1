//go:build unix

package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/culvert-iot/culvert/internal/trust"
)

// lockFile makes the file and locks it until it is closed, or its process is gone. One that another user has put
// there is no lock: its holder could keep the daemon from running.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file: remove it", path)
	}
	if err == nil {
		err = trust.Planted(path, info)
	}
	if err != nil {
		_ = f.Close()
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
