package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// moving is a transfer under way.
type moving struct {
	name     string
	programs []*exec.Cmd // the operator's, each with those that it starts; the first one's end is the transfer's
	total    int64
	progress func() int64
	verify   func(t *testing.T)
	output   harness.Buffer // of the programs
	exited   chan error     // the first program's
	stopped  chan struct{}

	mu    sync.Mutex
	pause time.Duration // the longest time without progress
}

// transfers are what operators do that must survive.
var transfers = []func(*testing.T, *survival) *moving{curlDownload, rsyncDownload, scpUpload, shellLines}

// lastLines are the lines that the shell prints only after the fault, whenever that comes.
const lastLines = 5

// shellLines is a shell that prints a line each 100 ms.
func shellLines(t *testing.T, s *survival) *moving {
	var out harness.Buffer
	m := &moving{name: "ssh", total: int64(s.lines), progress: func() int64 { return int64(strings.Count(out.String(), "\n")) }}
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do [ $i -lt %d ] || [ -e '%s' ] || { sleep 0.1; continue; }; i=$((i+1)); echo line $i; sleep 0.1; done",
		s.lines, s.lines-lastLines, s.faulted())
	m.verify = func(t *testing.T) {
		var want strings.Builder
		for i := range s.lines {
			fmt.Fprintf(&want, "line %d\n", i+1)
		}
		if got := out.String(); got != want.String() {
			t.Errorf("the shell printed\n%s", got)
		}
	}
	cmd := s.program(t, m, culvert(t), "ssh", "-F", s.config, "pi-1", script)
	cmd.Stdout = &out
	return m.run(t)
}

func scpUpload(t *testing.T, s *survival) *moving {
	m := s.copying(t, "scp")
	s.program(t, m, requireProgram(t, "scp"), "-F", s.config, "-o", "ProxyCommand="+culvert(t)+" connect --stdio %h SSH",
		s.original, "pi-1:"+filepath.Join(m.directory(t, s), "copy"))
	return m.run(t)
}

func rsyncDownload(t *testing.T, s *survival) *moving {
	m := s.copying(t, "rsync")
	s.program(t, m, requireProgram(t, "rsync"), "--whole-file", "-e", culvert(t)+" ssh -F "+s.config,
		"pi-1:"+s.original, filepath.Join(m.directory(t, s), "copy"))
	return m.run(t)
}

func curlDownload(t *testing.T, s *survival) *moving {
	m := s.copying(t, "curl")
	connect := s.program(t, m, culvert(t), "connect", "pi-1", "HTTP=0")
	var out harness.Buffer
	connect.Stdout = &out
	if err := connect.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = connect.Process.Signal(os.Interrupt)
		_ = connect.Wait()
	})
	eventually(t, 30*time.Second, "culvert connect listens", func() bool { return strings.Contains(out.String(), "\n") })
	_, address, _ := strings.Cut(strings.TrimSpace(out.String()), " ")
	s.program(t, m, requireProgram(t, "curl"), "-sSf", "-o", filepath.Join(m.directory(t, s), "copy"), "http://"+address+"/original")
	m.programs[0], m.programs[1] = m.programs[1], m.programs[0]
	return m.run(t)
}

// copying is a transfer of the original file into a directory of its own.
func (s *survival) copying(t *testing.T, name string) *moving {
	t.Helper()
	m := &moving{name: name, total: s.size}
	dir := m.directory(t, s)
	m.progress = func() (n int64) {
		all, _ := filepath.Glob(filepath.Join(dir, "*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, ".*")) // rsync's temporary file
		for _, path := range append(all, hidden...) {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				n += info.Size()
			}
		}
		return n
	}
	m.verify = func(t *testing.T) {
		if got := sumOf(t, filepath.Join(dir, "copy")); !bytes.Equal(got, s.sum) {
			t.Error("the copy differs from the original")
		}
	}
	return m
}

// directory is where the transfer's copy goes.
func (m *moving) directory(t *testing.T, s *survival) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(s.original), m.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// program returns a command of the operator, in a process group with what it starts.
func (s *survival) program(t *testing.T, m *moving, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = s.env
	cmd.Stderr = &m.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	m.programs = append(m.programs, cmd)
	return cmd
}

// run starts the transfer and watches its progress.
func (m *moving) run(t *testing.T) *moving {
	t.Helper()
	cmd := m.programs[0]
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.exited, m.stopped = make(chan error, 1), make(chan struct{})
	go func() { m.exited <- cmd.Wait(); close(m.stopped) }()
	t.Cleanup(func() {
		_ = cmd.Cancel()
		<-m.stopped
	})
	go m.watch()
	return m
}

func (m *moving) watch() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	n, since := int64(0), time.Now()
	for {
		select {
		case <-tick.C:
		case <-m.stopped:
			return
		}
		now := m.progress()
		if n > 0 {
			m.mu.Lock()
			m.pause = max(m.pause, time.Since(since))
			m.mu.Unlock()
		}
		if now != n {
			n, since = now, time.Now()
		}
	}
}

// longest is the longest pause so far.
func (m *moving) longest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pause
}

// finish waits for the transfer's end, which must be a good one.
func (m *moving) finish(t *testing.T) {
	t.Helper()
	select {
	case err := <-m.exited:
		if err != nil {
			t.Errorf("%s: %v after %d of %d", m.name, err, m.progress(), m.total)
		}
	case <-time.After(3 * time.Minute):
		t.Errorf("%s does not end: %d of %d", m.name, m.progress(), m.total)
	}
	if t.Failed() {
		t.Logf("%s wrote:\n%s", m.name, m.output.String())
		return
	}
	m.verify(t)
}

// sshConfig writes a configuration for the operator's ssh.
func (s *survival) sshConfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(s.home, "config")
	text := fmt.Sprintf("Host *\n  User %s\n  IdentityFile %s/client\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n"+
		"  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  BatchMode yes\n  Compression no\n", s.ssh.user, s.ssh.dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fileServer serves a directory by HTTP.
func fileServer(t *testing.T, dir string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}
