package handover

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/test/harness"
)

// message is what the service manager was told.
type message struct {
	text string
	file *os.File // nil: none came with it
}

// bind returns the service manager's socket.
func bind(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

// listen plays the service manager: it returns what it was told, a descriptor included, and confirms barriers.
func listen(t *testing.T) <-chan message {
	t.Helper()
	return read(t, bind(t))
}

func read(t *testing.T, conn *net.UnixConn) <-chan message {
	t.Helper()
	told := make(chan message, 100)
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer close(told)
		text, rights := make([]byte, 4096), make([]byte, 256)
		for {
			n, oob, _, _, err := conn.ReadMsgUnix(text, rights)
			if err != nil {
				return
			}
			m := message{text: string(text[:n])}
			if list, err := syscall.ParseSocketControlMessage(rights[:oob]); err == nil && len(list) == 1 {
				if fds, err := syscall.ParseUnixRights(&list[0]); err == nil && len(fds) == 1 {
					m.file = os.NewFile(uintptr(fds[0]), "passed")
				}
			}
			if m.text == "BARRIER=1" {
				_ = m.file.Close()
				continue
			}
			told <- m
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-over })
	return told
}

// pair returns a connection's end as a file, and the other end.
func pair(t *testing.T) (*os.File, *net.TCPConn) {
	t.Helper()
	f, far, err := harness.FilePair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = f.Close(), far.Close() })
	// As culvertd does, and the next process undoes.
	if err := unix.SetsockoptLinger(int(f.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		t.Fatal(err)
	}
	return f, far
}

// put hands n sockets over and returns what is in the store then, and the sockets' other ends.
func put(t *testing.T, told <-chan message, state string, n int) (all []stored, far []*net.TCPConn) {
	t.Helper()
	var sockets []*os.File
	for range n {
		f, c := pair(t)
		sockets, far = append(sockets, f), append(far, c)
	}
	if err := Put([]byte(state), sockets); err != nil {
		t.Fatal(err)
	}
	for _, f := range sockets {
		_ = f.Close()
	}
	for range n + 1 {
		m := <-told
		text, name, ok := strings.Cut(m.text, "\nFDNAME=")
		if !ok || text != "FDSTORE=1\nFDPOLL=0" {
			t.Errorf("told %q: systemd would drop a socket whose peer has ended", m.text)
		}
		all = append(all, stored{name, m.file})
	}
	if !strings.HasPrefix(all[0].name, stateName) {
		t.Errorf("%s comes first: in a store that is too small the state would be missing", all[0].name)
	}
	return append(all[1:], all[0]), far
}

// says reports what a peer hears: "" if the connection stands, "end" or "reset".
func says(c *net.TCPConn, wait time.Duration) string {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	switch _, err := c.Read(make([]byte, 1)); {
	case err == io.EOF:
		return "end"
	case os.IsTimeout(err):
		return ""
	case err != nil && strings.Contains(err.Error(), "reset"):
		return "reset"
	default:
		return fmt.Sprint(err)
	}
}

// speaks checks that f is the other end of c, and closes it.
func speaks(t *testing.T, f *os.File, c *net.TCPConn) {
	t.Helper()
	defer f.Close()
	_ = c.SetReadDeadline(time.Now().Add(soon))
	b := make([]byte, 4)
	if _, err := f.WriteString("here"); err != nil {
		t.Error(err)
	} else if _, err := io.ReadFull(c, b); err != nil || string(b) != "here" {
		t.Errorf("the peer heard %q, %v", b, err)
	}
}

const soon = 10 * time.Second

func TestTheSocketsThatAreLeftKeepTheirPlaces(t *testing.T) {
	told := listen(t)
	all, far := put(t, told, "state", 5)
	for _, s := range all[:2] {
		_ = s.file.Close()
	}
	all = all[2:] // systemd has dropped two
	slices.Reverse(all)
	state, sockets, err := sortOut(all)
	if err != nil || string(state) != "state" || len(sockets) != 5 || sockets[0] != nil || sockets[1] != nil {
		t.Fatalf("%q, %d sockets, %v", state, len(sockets), err)
	}
	for i, f := range sockets[2:] {
		speaks(t, f, far[i+2])
	}
}

func TestAllThatIsOursIsForgotten(t *testing.T) {
	told := listen(t)
	all := []stored{{name: "culvert-state"}, {name: "culvert-socket-7"}, {name: "http"}, {name: "culvert-what"}, {name: "culvert-socket-12-0"}}
	forget(all)
	for _, name := range []string{"culvert-state", "culvert-socket-7", "culvert-what", "culvert-socket-12-0"} {
		select {
		case m := <-told:
			if m.text != "FDSTOREREMOVE=1\nFDNAME="+name {
				t.Errorf("told %q, want that %s be forgotten", m.text, name)
			}
		case <-time.After(soon):
			t.Fatalf("%s is not forgotten", name)
		}
	}
}

func TestSocketsWithoutAStateAreReset(t *testing.T) {
	for name, spoil := range map[string]func([]stored) []stored{
		"the state is missing":     func(all []stored) []stored { return all[:2] },
		"the state cannot be read": func(all []stored) []stored { _ = all[2].file.Close(); return all },
	} {
		t.Run(name, func(t *testing.T) {
			told := listen(t)
			all, far := put(t, told, "state", 2)
			state, sockets, err := sortOut(spoil(all))
			if err == nil || state != nil || len(sockets) != 0 {
				t.Errorf("%q, %d sockets, %v", state, len(sockets), err)
			}
			for i, c := range far {
				if got := says(c, soon); got != "reset" {
					t.Errorf("the peer of socket %d hears %q", i, got)
				}
			}
		})
	}
}

// Rests of other hand-overs, such as after a wish to forget them was lost.
func TestTheLatestHandOverCounts(t *testing.T) {
	for name, order := range map[string][]int{"the latest first": {2, 1, 0}, "the oldest first": {0, 1, 2}} {
		t.Run(name, func(t *testing.T) {
			told := listen(t)
			first, ends := put(t, told, "first", 2)
			second, far := put(t, told, "second", 1)
			third, late := put(t, told, "third", 1)
			sets := [][]stored{first, second, third[:1]} // whose state is lost
			state, sockets, err := sortOut(slices.Concat(sets[order[0]], sets[order[1]], sets[order[2]]))
			if err != nil || string(state) != "second" || len(sockets) != 1 {
				t.Fatalf("%q, %d sockets, %v", state, len(sockets), err)
			}
			for _, c := range append(ends, late...) {
				if got := says(c, soon); got != "reset" {
					t.Errorf("a peer of another hand-over hears %q", got)
				}
			}
			speaks(t, sockets[0], far[0])
		})
	}
}

func TestWhatACulvertdWithoutTagsHasPutIsTaken(t *testing.T) {
	told := listen(t)
	all, _ := put(t, told, "state", 2)
	all[0].name, all[1].name, all[2].name = "culvert-socket-0", "culvert-socket-1", "culvert-state"
	state, sockets, err := sortOut(all)
	if err != nil || string(state) != "state" || len(sockets) != 2 || sockets[0] == nil || sockets[1] == nil {
		t.Errorf("%q, %v, %v", state, sockets, err)
	}
	for _, f := range sockets {
		_ = f.Close()
	}
}

func TestWhatHasNoPlaceIsClosed(t *testing.T) {
	told := listen(t)
	all, far := put(t, told, "state", 6)
	tag := strings.TrimSuffix(all[0].name, "0")
	for i, name := range []string{"", "http", tag + "x", tag + "70000", tag + "-1", all[0].name} {
		all[i].name = name
	}
	state, sockets, err := sortOut(all)
	if err != nil || string(state) != "state" || len(sockets) != 1 {
		t.Fatalf("%q, %d sockets, %v", state, len(sockets), err)
	}
	for i, c := range far[:5] {
		if got := says(c, soon); got != "reset" {
			t.Errorf("the peer of %q hears %q", all[i].name, got)
		}
	}
	speaks(t, sockets[0], far[5])
}

// sleeps waits until a thread of this process has done nothing for a while.
func sleeps(t *testing.T, thread int) {
	t.Helper()
	name := fmt.Sprintf("/proc/self/task/%d/stat", thread)
	still := 0
	if !harness.Poll(soon, func() bool {
		stat, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, state, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(state, "S") {
			still++
		} else {
			still = 0
		}
		return still == 20
	}) {
		t.Fatal("the thread works all the time")
	}
}

// Signals come at any time, such as when a command of a hook has ended, and the kernel starts no call again that has a
// time limit.
func TestASignalDoesNotEndAHandOverThatWaits(t *testing.T) {
	conn := bind(t)
	const more = 1000 // than the socket takes
	f, _ := pair(t)
	thread, over := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		over <- Put([]byte("state"), slices.Repeat([]*os.File{f}, more))
	}()
	id := <-thread
	sleeps(t, id)
	if err := unix.Tgkill(os.Getpid(), id, unix.SIGURG); err != nil {
		t.Fatal(err)
	}
	put := 0
	for told := read(t, conn); ; {
		select {
		case m := <-told:
			put++
			_ = m.file.Close()
			continue
		case err := <-over:
			if err != nil || put+len(told) != more+1 {
				t.Errorf("%d of %d descriptors were put: %v", put+len(told), more+1, err)
			}
		}
		return
	}
}
