package stream

import (
	"io"
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelMemory is what the kernel holds for a socket in each direction, in bytes.
func kernelMemory(t *testing.T, c net.Conn) (receive, send int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info [9]uint32 // SK_MEMINFO_VARS of linux/sock_diag.h
	size := uint32(unsafe.Sizeof(info))
	err = raw.Control(func(fd uintptr) {
		_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
		if e != 0 || uintptr(size) < unsafe.Sizeof(info) { // an emulator takes it for an option of one number
			t.Skipf("this kernel does not say: %v, %d bytes", e, size)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return int(info[0]), int(max(info[2], info[5])) // SK_MEMINFO_RMEM_ALLOC; _WMEM_ALLOC, _WMEM_QUEUED
}

// What the kernel holds for a target that takes nothing, and of one whose bytes are not read, is bounded: it counts
// against the unit's memory. Without the bounds it is megabytes, once a socket has moved bulk.
func TestTheKernelHoldsLittleForATarget(t *testing.T) {
	t.Parallel()
	target, app := networks["tcp"](t)
	boundBuffers(target)
	receive, send := filled(t, target, app)
	// It takes one packet of the loopback interface more than it allows itself.
	if limit := 2*socketBuffer + 128<<10; receive > limit || send > limit {
		t.Errorf("the kernel holds %d bytes to receive and %d to send, want %d at most", receive, send, limit)
	}
}

// filled moves bulk both ways and then lets neither end read. It returns what the kernel holds for target then.
func filled(t *testing.T, target, app net.Conn) (receive, send int) {
	t.Helper()
	buf := make([]byte, 256<<10)
	move := func(from, to net.Conn) {
		t.Helper()
		go func() { _, _ = io.CopyN(from, zeroBytes{}, 16<<20) }()
		if _, err := io.CopyN(io.Discard, to, 16<<20); err != nil {
			t.Fatal(err)
		}
	}
	move(app, target) // which lets the kernel's own choice of sizes grow
	move(target, app)

	for _, c := range []net.Conn{app, target} {
		for {
			_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := c.Write(buf); err != nil {
				break
			}
		}
	}
	receive, send = kernelMemory(t, target)
	t.Logf("%d kB to receive, %d kB to send", receive/1000, send/1000)
	if receive == 0 || send == 0 {
		t.Error("the kernel's figures are not understood")
	}
	return receive, send
}

type zeroBytes struct{}

func (zeroBytes) Read(p []byte) (int, error) { return len(p), nil }
