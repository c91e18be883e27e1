package holder

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
)

// asNobody runs do as another user: on a thread of its own, which ends with it.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // and never unlocked
		const nobody = 65534
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0))
		if errno == 0 {
			do()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Skipf("become another user: %v", errno)
	}
}

// strangersPlace is a directory that every user can enter and write to, as a holder's never is.
func strangersPlace(t *testing.T) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "k.sock")
}

func TestAnotherUsersCommandIsRefused(t *testing.T) {
	path := strangersPlace(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	s := &Server{Thing: "pi-1", Version: "1", Config: connect.Config{API: &noAPI{}}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	var c net.Conn
	asNobody(t, func() { c, err = net.Dial("unix", path) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stranger := newLink(c)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_ = stranger.writeJSON(frameRequest, Request{Op: opStatus}) // the holder may refuse it before
	var a answer
	if err := stranger.expect(frameAnswer, &a); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the holder answered %+v, %v", a, err)
	}
	if a, err := ask(t.Context(), path, Request{Op: opStatus}, statusTime); err != nil || a.Status == nil {
		t.Errorf("its own user: %+v, %v", a, err)
	}
	cancel()
	<-ended //nolint:errcheck // only the end counts
}

func TestAnotherUsersSocketIsNotTalkedTo(t *testing.T) {
	path := strangersPlace(t)
	var l net.Listener
	var err error
	asNobody(t, func() { l, err = net.Listen("unix", path) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_ = os.Chmod(path, 0o777)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := &Client{Thing: "pi-1", Dir: filepath.Dir(path), Key: "k", Version: "1", Command: []string{"/bin/false"}}
	if _, err := c.Attach(ctx, Request{Services: []string{"SSH"}}, func(connect.Event) {}); !errors.Is(err, errStranger) {
		t.Errorf("attach: %v", err)
	}
	if t.Failed() {
		return // All would wait for an answer
	}
	if list, silent, err := All(filepath.Dir(path), "1"); err != nil || len(list)+len(silent) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}
