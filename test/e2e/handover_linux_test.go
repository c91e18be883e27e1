package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
)

// fdStore is a service manager with a file descriptor store, as far as culvertd can see.
type fdStore struct {
	path string
	conn *net.UnixConn

	mu    sync.Mutex
	names []string
	files []*os.File
}

func startFDStore(t *testing.T) *fdStore {
	t.Helper()
	s := &fdStore{path: filepath.Join(shortDir(t), "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	t.Cleanup(func() { _ = conn.Close() })
	go s.serve()
	return s
}

func (s *fdStore) serve() {
	message, rights := make([]byte, 4096), make([]byte, 256)
	for {
		n, oob, _, _, err := s.conn.ReadMsgUnix(message, rights)
		if err != nil {
			return
		}
		var fds []int
		if list, err := syscall.ParseSocketControlMessage(rights[:oob]); err == nil {
			for _, m := range list {
				if got, err := syscall.ParseUnixRights(&m); err == nil {
					fds = append(fds, got...)
				}
			}
		}
		text := string(message[:n])
		_, name, _ := strings.Cut(text, "FDNAME=")
		s.mu.Lock()
		switch {
		case strings.HasPrefix(text, "FDSTORE=1") && len(fds) == 1:
			s.names, s.files = append(s.names, name), append(s.files, os.NewFile(uintptr(fds[0]), name))
		case strings.HasPrefix(text, "FDSTOREREMOVE=1"):
			for i := range s.names {
				if s.names[i] == name {
					_ = s.files[i].Close()
					s.names[i] = ""
				}
			}
		default: // a barrier is confirmed by the end of its pipe
			for _, fd := range fds {
				_ = syscall.Close(fd)
			}
		}
		s.mu.Unlock()
	}
}

// held is how many descriptors are in the store.
func (s *fdStore) held() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.names {
		if name != "" {
			n++
		}
	}
	return n
}

// start starts the daemon with what is in the store.
func (s *fdStore) start(t *testing.T, config string) *daemon {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" --config "$1"`, culvertd(t), config)
	env := []string{"NOTIFY_SOCKET=" + s.path, "FDSTORE=512"}
	if len(s.files) > 0 {
		cmd.ExtraFiles = s.files
		env = append(env, fmt.Sprintf("LISTEN_FDS=%d", len(s.files)), "LISTEN_FDNAMES="+strings.Join(s.names, ":"))
	}
	return startCommand(t, config, cmd, env...)
}

// lines is a service that numbers the lines that it gets.
func lines(c net.Conn) {
	in := bufio.NewScanner(c)
	for n := 1; in.Scan(); n++ {
		if _, err := fmt.Fprintf(c, "%d %s\n", n, in.Text()); err != nil {
			return
		}
	}
}

// TestARestartCutsNoConnection replaces the daemon under a conversation, as an upgrade through culvert ssh does.
func TestARestartCutsNoConnection(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"TALK": server(t, lines)}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	store := startFDStore(t)
	device := store.start(t, files.ConfigFile)
	device.waitLog(t, "mqtt subscribed", 20*time.Second)
	site := newOperatorSite(t, box)
	talk := site.culvert(t, "connect", "--stdio", "pi-1", "TALK")
	in, err := talk.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := talk.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	talk.Stderr = &said
	if err := talk.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(out)
	say := func(n int) {
		t.Helper()
		if _, err := fmt.Fprintf(in, "line %d\n", n); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%d line %d", n, n); !answers.Scan() || answers.Text() != want {
			t.Fatalf("answer %q, want %q: %v", answers.Text(), want, answers.Err())
		}
	}
	say(1)
	for restart := range 2 {
		device.stop(t)
		if n := store.held(); n != 2 {
			t.Fatalf("%d descriptors are kept, want a socket and a state:\n%s", n, device.log())
		}
		device = store.start(t, files.ConfigFile)
		say(2 + restart)
		if n := store.held(); n != 0 {
			t.Errorf("%d descriptors are still kept", n)
		}
		store.mu.Lock()
		store.names, store.files = nil, nil
		store.mu.Unlock()
	}
	device.waitLog(t, "connections of the last process wait to be resumed", time.Second)
	_ = in.Close()
	if answers.Scan() {
		t.Errorf("more than was asked for: %q", answers.Text())
	}
	if err := talk.Wait(); err != nil {
		t.Errorf("culvert connect --stdio: %v\n%s", err, said.String())
	}
}
