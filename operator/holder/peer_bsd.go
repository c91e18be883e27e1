//go:build darwin || freebsd

package holder

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUser returns the user of the process at the other end of c.
func peerUser(c *net.UnixConn) (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	const solLocal = 0
	var cred *unix.Xucred
	if controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptXucred(int(fd), solLocal, unix.LOCAL_PEERCRED)
	}); controlErr != nil {
		return 0, controlErr
	}
	if err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}
