package services

import (
	"net"
	"syscall"
	"testing"
)

func TestTCPTargetsHaveNoDelayAndKeepAlive(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := mustDial(t, NewTable([]Service{{Name: "a", Network: "tcp", Address: l.Addr().String()}}), "a")
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, opt := range []struct {
		name               string
		level, option, low int
	}{
		{"TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 60},
	} {
		var v int
		cerr := raw.Control(func(fd uintptr) { v, err = syscall.GetsockoptInt(int(fd), opt.level, opt.option) })
		if cerr != nil || err != nil || v < opt.low {
			t.Errorf("%s = %d, %v, %v", opt.name, v, cerr, err)
		}
	}
}
