package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// errSharing is Windows' ERROR_SHARING_VIOLATION: another process has the file open.
const errSharing = syscall.Errno(32)

// lockDir locks a directory until the result is closed or the process ends. The lock is a file in it
// that is opened without sharing.
func lockDir(dir string) (io.Closer, error) {
	path := filepath.Join(dir, ".lock")
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("lock sandbox directory %s: %w", dir, err)
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	switch {
	case errors.Is(err, errSharing):
		return nil, inUse(dir)
	case err != nil:
		return nil, fmt.Errorf("lock sandbox directory %s: %w", dir, err)
	}
	return os.NewFile(uintptr(h), path), nil
}
