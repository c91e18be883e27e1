package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// fdStore is a service manager with a file descriptor store, as far as culvertd can see.
type fdStore struct {
	path string
	conn *net.UnixConn

	mu   sync.Mutex
	held []kept
}

// kept is a descriptor of the store.
type kept struct {
	name   string
	file   *os.File
	polled bool // it goes when its peer does, as systemd has it without FDPOLL=0
}

func startFDStore(t *testing.T) *fdStore {
	t.Helper()
	s := &fdStore{path: filepath.Join(shortDir(t), "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	t.Cleanup(func() {
		_ = conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drop(func(kept) bool { return true })
	})
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
		lines := strings.Split(string(message[:n]), "\n")
		name := ""
		for _, line := range lines {
			if v, ok := strings.CutPrefix(line, "FDNAME="); ok {
				name = v
			}
		}
		s.mu.Lock()
		switch {
		case slices.Contains(lines, "FDSTORE=1") && len(fds) == 1:
			s.held = append(s.held, kept{name, os.NewFile(uintptr(fds[0]), name), !slices.Contains(lines, "FDPOLL=0")})
		case slices.Contains(lines, "FDSTOREREMOVE=1"):
			s.drop(func(k kept) bool { return k.name == name })
		default: // a barrier is confirmed by the end of its pipe
			for _, fd := range fds {
				_ = syscall.Close(fd)
			}
		}
		s.mu.Unlock()
	}
}

// drop closes what is in the store and meets the condition.
func (s *fdStore) drop(which func(kept) bool) {
	s.held = slices.DeleteFunc(s.held, func(k kept) bool {
		gone := which(k)
		if gone {
			_ = k.file.Close()
		}
		return gone
	})
}

// hungUp reports whether systemd would have dropped k by now.
func hungUp(k kept) bool {
	if !k.polled {
		return false
	}
	poll := []unix.PollFd{{Fd: int32(k.file.Fd())}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n == 1 && poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// names are what is in the store.
func (s *fdStore) names() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(hungUp)
	for _, k := range s.held {
		list = append(list, k.name)
	}
	return list
}

// start starts the daemon with what is in the store.
func (s *fdStore) start(t *testing.T, config string) *daemon {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" --config "$1"`, culvertd(t), config)
	env := []string{"NOTIFY_SOCKET=" + s.path, "FDSTORE=512"}
	s.drop(hungUp)
	var names []string
	for _, k := range s.held {
		names, cmd.ExtraFiles = append(names, k.name), append(cmd.ExtraFiles, k.file)
	}
	if len(names) > 0 {
		env = append(env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
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

// conversation is an operator's connection to a service of lines.
type conversation struct {
	*exec.Cmd
	in      io.WriteCloser
	answers *bufio.Scanner
	said    strings.Builder
	lines   int
}

func converse(t *testing.T, site *operatorSite, service string) *conversation {
	t.Helper()
	c := &conversation{Cmd: site.culvert(t, "connect", "--stdio", "pi-1", service)}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in, c.answers, c.Stderr = in, bufio.NewScanner(out), &c.said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// say says a line and waits for the answer.
func (c *conversation) say(t *testing.T) {
	t.Helper()
	c.lines++
	if _, err := fmt.Fprintf(c.in, "line %d\n", c.lines); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d line %d", c.lines, c.lines); !c.answers.Scan() || c.answers.Text() != want {
		t.Fatalf("answer %q, want %q: %v", c.answers.Text(), want, c.answers.Err())
	}
}

// end ends it in order.
func (c *conversation) end(t *testing.T) {
	t.Helper()
	_ = c.in.Close()
	if c.answers.Scan() {
		t.Errorf("more than was asked for: %q", c.answers.Text())
	}
	if err := c.Wait(); err != nil {
		t.Errorf("culvert connect --stdio: %v\n%s", err, c.said.String())
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
	talk := converse(t, newOperatorSite(t, box), "TALK")
	talk.say(t)
	for range 2 {
		device.stop(t)
		if names := store.names(); len(names) != 2 {
			t.Fatalf("%q are kept, want a socket and a state:\n%s", names, device.log())
		}
		device = store.start(t, files.ConfigFile)
		talk.say(t)
		if names := store.names(); len(names) != 0 {
			t.Errorf("%q are still kept", names)
		}
	}
	device.waitLog(t, "connections of the last process wait to be resumed", time.Second)
	talk.end(t)
}

// TestABlockedWebsocketCostsOthersNothingAtARestart stops the daemon while bulk of another tunnel is in a black hole.
func TestABlockedWebsocketCostsOthersNothingAtARestart(t *testing.T) {
	t.Parallel()
	var flooded atomic.Int64
	box := startSandbox(t, sandbox.Config{Services: map[string]string{
		"TALK": server(t, lines),
		"FLOOD": server(t, func(c net.Conn) {
			for b := make([]byte, 64<<10); ; flooded.Add(1) {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}),
	}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	store := startFDStore(t)
	device := store.start(t, files.ConfigFile)
	device.waitLog(t, "mqtt subscribed", 20*time.Second)
	talk := converse(t, newOperatorSite(t, box), "TALK")
	talk.say(t)
	mark := device.mark()
	other := openTunnel(t, box, device, "FLOOD")
	device.waitLogFrom(t, mark, "tunnel connected", 20*time.Second)
	// Without records, which would bound what is under way.
	c := connectTo(t, startSource(t, box, other.SourceToken, proxy.V2), "FLOOD")
	if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, c) }()
	box.Relay.Faults().Set(relay.Target{Tunnel: other.Tunnel.ID, Side: tunnels.Destination}, relay.Conditions{BlackHole: true})
	last, since := int64(-1), time.Now()
	eventually(t, 60*time.Second, "the other tunnel takes no more", func() bool {
		if n := flooded.Load(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
	start := time.Now()
	device.stop(t)
	// Every connection waits for it. The close of the blocked websocket alone could take 3 s.
	if took := time.Since(start); took > 2500*time.Millisecond {
		t.Errorf("the daemon ended after %v", took)
	}
	if names := store.names(); len(names) != 2 {
		t.Errorf("%q are kept, want a socket and a state:\n%s", names, device.log())
	}
	store.start(t, files.ConfigFile)
	talk.say(t)
	talk.end(t)
}

// TestATargetThatEndsWhileTheDaemonIsAway: its last words are what the whole connection was for.
func TestATargetThatEndsWhileTheDaemonIsAway(t *testing.T) {
	t.Parallel()
	unixTarget := filepath.Join(shortDir(t), "target")
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": unixTarget} {
		t.Run(network, func(t *testing.T) {
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			target := l.Addr().String()
			if network == "unix" {
				target = "unix:" + target
			}
			box := startSandbox(t, sandbox.Config{Services: map[string]string{"ASK": target}})
			files, err := box.Device("pi-1")
			if err != nil {
				t.Fatal(err)
			}
			store := startFDStore(t)
			device := store.start(t, files.ConfigFile)
			device.waitLog(t, "mqtt subscribed", 20*time.Second)
			ask := newOperatorSite(t, box).culvert(t, "connect", "--stdio", "pi-1", "ASK")
			ask.Stdin = strings.NewReader("all of the question")
			var answer, said strings.Builder
			ask.Stdout, ask.Stderr = &answer, &said
			if err := ask.Start(); err != nil {
				t.Fatal(err)
			}
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			if p, err := io.ReadAll(c); err != nil || string(p) != "all of the question" {
				t.Fatalf("the target heard %q, %v", p, err)
			}
			device.stop(t)
			if _, err := io.WriteString(c, "the answer"); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			if names := store.names(); len(names) != 2 {
				t.Errorf("%q are kept, want a socket and a state:\n%s", names, device.log())
			}
			store.start(t, files.ConfigFile)
			if err := ask.Wait(); err != nil || answer.String() != "the answer" {
				t.Errorf("culvert connect --stdio: %v, answer %q\n%s", err, answer.String(), said.String())
			}
		})
	}
}
