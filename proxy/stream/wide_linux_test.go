package stream

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// buffers is what the kernel allows itself for a socket, in bytes: twice what was asked for (socket(7)).
func buffers(t *testing.T, c net.Conn) (receive, send int) {
	t.Helper()
	raw, err := beneath(c).(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if receive, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
			send, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return receive, send
}

func targets(t *testing.T, n int) []net.Conn {
	t.Helper()
	all := make([]net.Conn, n)
	for i := range all {
		all[i], _ = networks["tcp"](t)
		boundBuffers(all[i])
	}
	return all
}

func checkWide(t *testing.T, when string, all []net.Conn, want ...bool) {
	t.Helper()
	for i, wide := range want {
		size := 2 * socketBuffer
		if wide {
			size = 2 * wideBuffer
		}
		if receive, send := buffers(t, all[i]); receive != size || send != size {
			t.Errorf("%s: target %d has %d bytes to receive and %d to send, want %d", when, i, receive, send, size)
		}
	}
}

func TestAFastTargetGetsLargeBuffers(t *testing.T) {
	t.Parallel()
	var w widths
	all, now := targets(t, 2), time.Now()
	for range 15 {
		w.moved(all[0], 64<<10, now)
	}
	checkWide(t, "after 960 KiB", all, false, false)
	w.moved(all[0], 64<<10, now.Add(fastTime))
	checkWide(t, "after 1 MiB", all, true, false)
	for i := range 64 { // 64 KiB in 100 ms: a link of 5 Mbit/s
		w.moved(all[1], 64<<10, now.Add(time.Duration(i)*100*time.Millisecond))
	}
	checkWide(t, "beside a slow one", all, true, false)
	w.forget(all[0])
	w.forget(all[1])
	if w.count != 0 || w.seen != (widths{}).seen {
		t.Errorf("closed targets are kept: %+v", w.seen)
	}
}

func TestFewTargetsHaveLargeBuffersAtATime(t *testing.T) {
	t.Parallel()
	var w widths
	const n = 3 * widePlaces
	all, now := targets(t, n), time.Now()
	want := make([]bool, n)
	fast := func(i int) { w.moved(all[i], fastBytes, now) }
	for i := range all {
		fast(i)
		want[i] = i < widePlaces
	}
	checkWide(t, "all are fast", all, want...)

	now = now.Add(fastKept)
	for i := range widePlaces - 1 {
		fast(i)
	}
	now = now.Add(time.Second)
	fast(n - 1)
	fast(n - 1)
	want[widePlaces-1], want[n-1] = false, true
	checkWide(t, "one was silent", all, want...)

	w.forget(all[0])
	fast(n - 2)
	fast(n - 3)
	want[n-2] = true
	checkWide(t, "one is closed", all[1:], want[1:]...)
}

// Many connections that are fast by turns must not take the places from each other before one has shown its speed.
func TestATargetHasTimeToShowItsSpeed(t *testing.T) {
	t.Parallel()
	var w widths
	all, now := targets(t, 4*widePlaces), time.Now()
	for range 16 {
		for i := range all {
			w.moved(all[i], 64<<10, now)
		}
		now = now.Add(10 * time.Millisecond)
	}
	if w.count != widePlaces {
		t.Errorf("%d targets have large buffers, want %d", w.count, widePlaces)
	}
}

// The kernel's memory for the fastest targets is bounded, too.
func TestTheKernelHoldsABoundedAmountForAFastTarget(t *testing.T) {
	t.Parallel()
	var w widths
	target, app := networks["tcp"](t)
	boundBuffers(target)
	w.moved(target, fastBytes, time.Now())
	receive, send := filled(t, target, app)
	if limit := 2*wideBuffer + 128<<10; receive > limit || send > limit {
		t.Errorf("the kernel holds %d bytes to receive and %d to send, want %d at most", receive, send, limit)
	}
}
