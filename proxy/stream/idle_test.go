package stream

import (
	"io"
	"net"
	"runtime"
	"testing"
)

// An idle connection that was used holds no buffer at either end.
func TestIdleConnectionsAreCheap(t *testing.T) {
	if raced {
		t.Skip("the race detector costs memory")
	}
	const n = 250
	r := newRig(t, func() (net.Conn, error) {
		a, b := networks["unix"](t)
		go echoSmall(b)
		return a, nil
	})
	r.link(-1, -1)
	before := inUse()
	var all []net.Conn
	for range n {
		local, remote := networks["unix"](t)
		defer local.Close()
		if err := r.source.Open("X", remote); err != nil {
			t.Fatal(err)
		}
		all = append(all, local)
	}
	for _, c := range all {
		_, _ = io.WriteString(c, "hello")
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return r.near.Memory.Used()+r.far.Memory.Used() == 0 })
	each := (inUse() - before) / n / 2
	t.Logf("%d bytes for each end of an idle connection", each)
	const limit = 9 << 10 // half of the test's own two sockets and its goroutine included
	if each > limit {
		t.Errorf("%d bytes", each)
	}
}

func inUse() int {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapInuse + s.StackInuse)
}

// echoSmall echoes once and then holds no buffer.
func echoSmall(c net.Conn) {
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err == nil {
		_, _ = c.Write(b)
	}
	_, _ = c.Read(b)
	_ = c.Close()
}
