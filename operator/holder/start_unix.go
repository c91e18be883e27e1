//go:build unix

package holder

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/filelock"
)

// Supported reports whether this system has holders. Elsewhere each command has a tunnel to itself.
const Supported = true

// ListenerFD is where the program that a [Client] starts finds its listener.
const ListenerFD = 3

// maxLog is how large the log of earlier holders may be.
const maxLog = 1 << 20

// start runs the command detached from this process and its terminal.
func (c *Client) start(l *net.UnixListener) error {
	listener, err := l.File()
	if err != nil {
		return err
	}
	defer listener.Close()
	if info, err := os.Stat(c.path(logSuffix)); err == nil && info.Size() > maxLog {
		_ = os.Truncate(c.path(logSuffix), 0)
	}
	log, err := os.OpenFile(c.path(logSuffix), os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.Command[0], c.Command[1:]...) //nolint:noctx // it outlives this program
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{listener}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // no zombie, if it ends first
	return nil
}

// Run makes this process, which a [Client] started, the holder: it serves the listener that it was given. dir and key are the
// client's.
func Run(ctx context.Context, s *Server, dir, key string) error {
	file := os.NewFile(ListenerFD, "listener")
	l, err := net.FileListener(file)
	_ = file.Close()
	if err != nil {
		return fmt.Errorf("not started by a command that shares its tunnel: %w", err)
	}
	c := &Client{Dir: dir, Key: key}
	own, err := os.Stat(c.path(socketSuffix))
	if err != nil {
		return err
	}
	if s.own, err = c.listenOwn(); err != nil {
		return err
	}
	s.address = s.own.Addr().String()
	s.Log = c.path(logSuffix)
	s.Leave = func() func() {
		lock := io.Closer(io.NopCloser(nil))
		for began := time.Now(); time.Since(began) < lockTime; {
			held, err := filelock.Lock(c.path(logSuffix))
			if err == nil {
				lock = held
				break
			}
			_ = backoff.Sleep(context.Background(), 10*time.Millisecond)
		}
		if now, err := os.Stat(c.path(socketSuffix)); err == nil && os.SameFile(own, now) {
			_ = os.Remove(c.path(socketSuffix))
		}
		return func() { _ = lock.Close() }
	}
	return s.Run(ctx, l)
}
