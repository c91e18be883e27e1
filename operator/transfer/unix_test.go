//go:build unix

package transfer

import (
	"os"
	"syscall"
	"testing"
)

func makeFIFO(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func currentUmask(t *testing.T) os.FileMode {
	t.Helper()
	umask := syscall.Umask(0)
	syscall.Umask(umask)
	return os.FileMode(umask)
}
