package e2e

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mutePort is a port that answers no SYN: its queue is full, and nothing accepts.
func mutePort(t *testing.T) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := name.(*syscall.SockaddrInet4)
	address = (&net.TCPAddr{IP: net.IP(at.Addr[:]), Port: at.Port}).String()
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("this kernel answers a SYN although the queue is full")
	return ""
}

// A host that is off, or a firewall that drops: the connection waits for connect_timeout, nothing else does.
func TestAServiceThatNeverAnswersASYN(t *testing.T) {
	t.Parallel()
	d := startFaulty(t, mutePort(t))
	start := time.Now()
	c := connectTo(t, d.source, "APP")
	if _, err := c.Write([]byte("held until the target is there")); err != nil {
		t.Fatal(err)
	}
	took := ends(t, c, 30*time.Second)
	t.Logf("refused after %v", took.Round(time.Millisecond))
	if took < 4*time.Second {
		t.Errorf("refused %v after %v, connect_timeout is 5 s", took, time.Since(start))
	}
	if line := d.daemon.waitLog(t, "connection refused", 5*time.Second); !strings.Contains(line, "did not answer within 5s") || !strings.Contains(line, "firewall") {
		t.Errorf("the refusal is not explained: %s", line)
	}
	d.pulse.lived(t, "a target that answers no SYN")
}
