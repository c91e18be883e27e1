//go:build unix

package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-iot/culvert/internal/filelock"
	"github.com/culvert-iot/culvert/internal/hint"
)

// Another user of the machine, who can write into the directory, must not be able to keep the daemon from running: what
// he puts there is no sign of another daemon.
func TestWhatAStrangerPutsThereIsNoOtherDaemon(t *testing.T) {
	const stranger, owner = 12345, 23456
	if os.Geteuid() != 0 {
		t.Skip("only root can make another user's file")
	}
	for _, tt := range []struct {
		name    string
		plant   func(t *testing.T, path string)
		dir     int // whose the directory is
		running bool
		want    string
	}{
		{"a socket that answers", listening(stranger), 0, false, "culvertd.sock belongs to user 12345; remove it"},
		{"a lock that is held", locked(stranger), 0, false, "culvertd.sock.lock belongs to user 12345; remove it"},
		{"a pipe in the lock's place", piped, 0, false, "culvertd.sock.lock is not a regular file; remove it"},
		{"a link in the lock's place", linked, 0, false, "too many levels of symbolic links"},
		{"the socket of the daemon's own user", listening(owner), owner, true, "another culvertd is running"},
		{"the lock of the daemon's own user", locked(owner), owner, true, "another culvertd is running"},
		{"a stranger's socket in its directory", listening(stranger), owner, false, "culvertd.sock belongs to user 12345; remove it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := socketPath(t)
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			tt.plant(t, path)
			if err := os.Chown(filepath.Dir(path), tt.dir, 0); err != nil {
				t.Fatal(err)
			}
			s, err := Listen(path, "", discard)
			if err == nil {
				s.Close()
			}
			if err == nil || errors.Is(err, ErrRunning) != tt.running || !strings.Contains(hint.Line(err), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func listening(uid int) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		if err := os.Chown(path, uid, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func locked(uid int) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		lock, err := filelock.Lock(path + ".lock")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lock.Close() })
		if err := os.Chown(path+".lock", uid, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func piped(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path+".lock", 0o600); err != nil {
		t.Fatal(err)
	}
}

func linked(t *testing.T, path string) {
	t.Helper()
	if err := os.Symlink(path+".elsewhere", path+".lock"); err != nil {
		t.Fatal(err)
	}
}

// The socket is made under another name, and admits only its user even there, whatever the daemon's umask is.
func TestTheSocketIsPrivateFromItsFirstMoment(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenPrivately(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
