//go:build unix

package stream

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// unixPair needs no name in the file system, which costs more than the sockets.
func unixPair(tb testing.TB) (a, b net.Conn) {
	tb.Helper()
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		tb.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		ends[i], err = net.FileConn(f)
		_ = f.Close()
		if err != nil {
			tb.Fatal(err)
		}
	}
	return ends[0], ends[1]
}
