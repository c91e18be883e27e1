//go:build linux

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/sandbox"
)

// limitFiles sets the limit of open files of a running process, as LimitNOFILE= of its unit does.
func limitFiles(t testing.TB, pid int, limit uint64) {
	t.Helper()
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Skipf("this machine does not let limits be changed: %v", err)
	}
}

// openFiles counts the descriptors of a process.
func openFiles(t testing.TB, pid int) int {
	t.Helper()
	list, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// room is how many descriptors more than it has a process is left in the tests below.
const room = 12

func TestWithoutFileDescriptorsLiveConnectionsStay(t *testing.T) {
	t.Parallel()
	d := startDevice(t, sandbox.Config{})
	pid := d.daemon.Cmd.Process.Pid
	live := startPulse(t, connectTo(t, d.source, "ECHO"))
	limitFiles(t, pid, uint64(openFiles(t, pid)+room))
	mark := d.daemon.mark()

	var open []net.Conn
	refused := 0
	for range 4 * room {
		c := connectTo(t, d.source, "ECHO")
		if exchangeByte(c) != nil {
			refused++
			continue
		}
		open = append(open, c)
	}
	t.Logf("with room for %d more descriptors %d connections stood, %d were refused", room, len(open), refused)
	if len(open) == 0 || refused < 2*room {
		t.Fatalf("%d connections stood and %d were refused", len(open), refused)
	}
	line := d.daemon.waitLogFrom(t, mark, "too many open files", time.Second)
	if !strings.Contains(line, "LimitNOFILE") || !strings.Contains(line, "ECHO") {
		t.Errorf("the refusal does not say what to do: %s", line)
	}
	if n := strings.Count(d.daemon.log()[mark:], "connection refused"); n != 1 {
		t.Errorf("%d refusals of one kind within seconds are %d lines of the log, want 1", refused, n)
	}
	for _, c := range open {
		if err := exchangeByte(c); err != nil {
			t.Errorf("a connection that stood: %v", err)
		}
	}
	for _, c := range open[:len(open)/2] {
		_ = c.Close()
	}
	took := d.comesBack(t, 10*time.Second)
	t.Logf("a new connection works %v after some have ended", took.Round(time.Millisecond))
	d.daemon.status(t) // which needs a descriptor too
	live.lived(t, "a lack of file descriptors")
}

// A listener that ends at the first error of accept(2) would leave the operator with a dead port.
func TestAPortOutlivesALackOfFileDescriptors(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{})
	tunnel := tunnelFor(t, box, "ECHO")
	startProxy(t, box, tunnel.DestinationToken, "-d", "ECHO="+echoServer(t)).connected(t)
	s := startProxy(t, box, tunnel.SourceToken, "-s", "ECHO=0")
	port := s.port(t)
	wantEcho(t, dialPort(t, port), "before")

	limitFiles(t, s.Cmd.Process.Pid, uint64(openFiles(t, s.Cmd.Process.Pid)+room))
	var clients []net.Conn
	for range 3 * room { // the kernel takes those that the program cannot
		clients = append(clients, dialPort(t, port))
	}
	line := s.waitLog(t, "too many open files", 10*time.Second)
	if !strings.Contains(line, "ulimit -n") || !strings.Contains(line, port) {
		t.Errorf("the trouble is not explained: %s", line)
	}
	wantEcho(t, clients[0], "meanwhile")
	for _, c := range clients[:len(clients)-1] {
		_ = c.Close()
	}
	wantEcho(t, clients[len(clients)-1], "the last in the queue")
	if n := strings.Count(s.log(), "too many open files"); n != 1 {
		t.Errorf("%d lines of the log tell of one trouble", n)
	}
}
