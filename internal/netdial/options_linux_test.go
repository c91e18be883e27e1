package netdial

import (
	"net"
	"syscall"
	"testing"
)

func TestLinuxSocketsGiveUpAfterAMinuteAndKeepLittleUnsent(t *testing.T) {
	conn, err := new(Dialer).DialContext(t.Context(), "tcp", serve(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name         string
		level, which int
		want         int
	}{
		{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, tcpUserTimeout, 60_000},
		{"TCP_NOTSENT_LOWAT", syscall.IPPROTO_TCP, tcpNotsentLowat, 128 << 10},
		{"TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
	} {
		var got int
		var optErr error
		if err := raw.Control(func(fd uintptr) { got, optErr = syscall.GetsockoptInt(int(fd), c.level, c.which) }); err != nil {
			t.Fatal(err)
		}
		if optErr != nil || got != c.want {
			t.Errorf("%s = %d (%v), want %d", c.name, got, optErr, c.want)
		}
	}
}
