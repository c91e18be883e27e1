//go:build unix

package stream

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// rawReader reads what a socket has, without waiting. It lets the sender take bulk straight from a
// target into the outgoing message, with no buffer and no goroutine in between.
type rawReader struct {
	raw  syscall.RawConn
	into []byte
	n    int
	err  error
	read func(fd uintptr) bool // made once: a closure a call would be an allocation a frame
}

// newRawReader returns nil where the target cannot be read that way.
func newRawReader(target net.Conn) *rawReader {
	sc, ok := target.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil || raw == nil {
		return nil
	}
	r := &rawReader{raw: raw}
	r.read = func(fd uintptr) bool {
		for {
			r.n, r.err = syscall.Read(int(fd), r.into)
			if !errors.Is(r.err, syscall.EINTR) {
				return true // never wait
			}
		}
	}
	return r
}

// tryRead reads at most len(p) bytes. It returns 0 and no error when nothing is there now, and io.EOF at
// the end. No other read of the target may be under way.
func (r *rawReader) tryRead(p []byte) (int, error) {
	r.into = p
	err := r.raw.Read(r.read)
	r.into = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(r.err, syscall.EAGAIN):
		return 0, nil
	case r.err != nil:
		return 0, r.err
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}
