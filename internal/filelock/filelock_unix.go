//go:build unix

package filelock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/trust"
)

// Lock makes the file with mode 0600 if it is missing, and locks it until the result is closed or the
// process ends. It does not wait: if the file is locked, the error is [ErrLocked]. A file that another
// user has put there is refused, since its owner could keep the program from running.
func Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = hint.New(path+" is not a regular file", "remove it")
	}
	if err == nil {
		err = trust.Planted(path, info)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return lock(f)
}

// Dir locks an existing directory as [Lock] does a file. It makes nothing in it.
func Dir(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return lock(f)
}

func lock(f *os.File) (io.Closer, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", f.Name(), ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}
