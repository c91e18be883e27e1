package control

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/culvert-iot/culvert/internal/hint"
)

func TestTheSocketIsForItsGroupAndGoneAfterwards(t *testing.T) {
	path := socketPath(t)
	stop := serve(t, path, echo)
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket's mode is %v", info.Mode())
	}
	if info, err = os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode is %v, %v", info.Mode(), err)
	}
	stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := os.Lstat(tempName(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary socket is still there: %v", err)
	}
}

func TestTheLongestPathWorks(t *testing.T) {
	dir := filepath.Dir(socketPath(t))
	path := filepath.Join(dir, strings.Repeat("x", maxPath-len(dir)-1))
	serve(t, path, echo)
	if err := Call(t.Context(), path, Request{Command: Ping}, nil); err != nil {
		t.Error(err)
	}
}

func TestADeadSocketIsReplaced(t *testing.T) {
	path := socketPath(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, tempName(path)} { // as a crash leaves them
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, path, echo)
	if err := Call(t.Context(), path, Request{Command: Ping}, nil); err != nil {
		t.Error(err)
	}
}

func TestALiveSocketIsNeverReplaced(t *testing.T) {
	path := socketPath(t)
	serve(t, path, echo)
	if _, err := Listen(path, "", discard); !errors.Is(err, ErrRunning) {
		t.Errorf("second daemon: %v", err)
	}
	// Nor that of a daemon which knows no lock.
	other := filepath.Join(filepath.Dir(path), "other.sock")
	l, err := net.Listen("unix", other)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(other, "", discard); !errors.Is(err, ErrRunning) || !strings.HasPrefix(err.Error(), "another culvertd is running") {
		t.Errorf("daemon without a lock: %v", err)
	}
	if err := Call(t.Context(), path, Request{Command: Ping}, nil); err != nil {
		t.Errorf("the first daemon was harmed: %v", err)
	}
}

func TestOfManyDaemonsThatStartAtOnceOneWins(t *testing.T) {
	path := socketPath(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	var won atomic.Int32
	var all sync.WaitGroup
	servers := make(chan *Server, 20)
	for range 20 {
		all.Go(func() {
			s, err := Listen(path, "", discard)
			switch {
			case err == nil:
				won.Add(1)
				servers <- s
			case !errors.Is(err, ErrRunning):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d daemons hold the socket", won.Load())
	}
	close(servers)
	for s := range servers {
		s.Close()
	}
}

func TestSocketsThatCannotBeMadeSaySo(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, want string }{
		{"a file in its place", plain, "exists and is not a socket; correct control.socket"},
		{"a directory in its place", dir, "exists and is not a socket"},
		{"a file as its directory", filepath.Join(plain, "sock"), "not a directory"},
		{"too long", "/" + strings.Repeat("x", maxPath), "set control.socket to a shorter one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Listen(tt.path, "", discard); err == nil || !strings.Contains(hint.Line(err), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	if b, _ := os.ReadFile(plain); string(b) != "precious" {
		t.Error("the file was harmed")
	}
}
