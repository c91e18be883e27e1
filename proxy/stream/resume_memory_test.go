package stream

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy/resume"
)

// When other connections have all the memory that there is for applications that take nothing, typing goes on.
func TestTypingGoesOnWhenTheMemoryIsInUse(t *testing.T) {
	r := newRig(t, func() (net.Conn, error) {
		a, b := networks["tcp"](t)
		go func() { defer b.Close(); _, _ = io.Copy(b, b) }()
		return a, nil
	})
	r.link(-1, -1)
	local, remote := networks["tcp"](t)
	defer local.Close()
	if err := r.source.Open("X", remote); err != nil {
		t.Fatal(err)
	}
	_ = local.SetDeadline(time.Now().Add(20 * time.Second))
	key := func() {
		t.Helper()
		if _, err := local.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(local, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	key()
	for _, y := range []*resume.Registry{r.near, r.far} {
		y.Memory.Take(resume.DefaultMemory, true)
		defer y.Memory.Give(resume.DefaultMemory)
	}
	for range 100 {
		key()
	}
}
