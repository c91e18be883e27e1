//go:build unix

package stream

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is a target's descriptor, used without ever waiting for the target, but for await.
type socket struct {
	*rawReader
	wait struct {
		poll   [1]unix.PollFd
		looked bool
		ready  func(fd uintptr) bool // made once, as all of these
	}
	out struct {
		from  []byte
		n     int
		err   error
		write func(fd uintptr) bool
	}
}

// newSocket returns nil where the target has no descriptor.
func newSocket(target net.Conn) *socket {
	r := newRawReader(target)
	if r == nil {
		return nil
	}
	s := &socket{rawReader: r}
	s.wait.ready = func(fd uintptr) bool {
		if s.wait.looked {
			return true // the runtime's poller woke us
		}
		s.wait.looked = true
		s.wait.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} //nolint:gosec // descriptors are small
		n, err := unix.Poll(s.wait.poll[:], 0)
		return n > 0 || err != nil
	}
	s.out.write = func(fd uintptr) bool {
		for len(s.out.from) > s.out.n {
			n, err := syscall.Write(int(fd), s.out.from[s.out.n:])
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if s.out.n += max(n, 0); err != nil {
				s.out.err = err
				return true // never wait
			}
		}
		return true
	}
	return s
}

// await returns when a read would find something, an end or an error included, or may do so. It needs no buffer,
// and little stack. No other read of the target may be under way.
func (s *socket) await() error {
	s.wait.looked = false
	return s.raw.Read(s.wait.ready)
}

// unsent is how many bytes the kernel has yet to deliver, as far as it says so.
func (s *socket) unsent() (n int) {
	_ = s.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
	return n
}

// tryWrite writes what the socket takes now. It is for one goroutine at a time.
func (s *socket) tryWrite(p []byte) (int, error) {
	s.out.from, s.out.n, s.out.err = p, 0, nil
	err := s.raw.Write(s.out.write)
	s.out.from = nil
	switch {
	case err != nil:
		return s.out.n, err
	case errors.Is(s.out.err, syscall.EAGAIN):
		return s.out.n, nil
	}
	return s.out.n, s.out.err
}
