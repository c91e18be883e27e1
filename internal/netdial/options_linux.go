package netdial

import "syscall"

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h (RFC 5482), in milliseconds; package syscall has no name for it.
const tcpUserTimeout = 0x12

// tcpNotsentLowat is TCP_NOTSENT_LOWAT of linux/tcp.h.
const tcpNotsentLowat = 0x19

// setOptions is a net.Dialer's Control. A kernel that does not know an option is no reason not to connect.
func setOptions(network, _ string, c syscall.RawConn) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil
	}
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(userTimeout.Milliseconds()))
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotsentLowat, notsentLowat)
	})
}
