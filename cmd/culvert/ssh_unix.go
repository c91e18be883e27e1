//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/operator/openssh"
)

// runInstead becomes another program, which then has the terminal, the signals and the exit code to itself.
func runInstead(path string, argv []string) error {
	return fmt.Errorf("run %s: %w", path, syscall.Exec(path, argv, os.Environ()))
}

// handoverFD is where the process that openOwn starts finds its listener.
const handoverFD = 3

// openOwn starts culvert connect --stdio in a process of its own and waits until it is connected, so that ssh
// starts only when there is something to talk to: its own complaint about a ProxyCommand that failed says nothing.
// It returns the settings with which ssh gets the connection from that process.
func openOwn(words []string, thing, service string) (settings []string, err error) {
	dir, err := os.MkdirTemp(os.Getenv("XDG_RUNTIME_DIR"), "culvert-ssh-*")
	if err != nil {
		if dir, err = os.MkdirTemp("", "culvert-ssh-*"); err != nil {
			return nil, fmt.Errorf("hand the connection to ssh: %w", err)
		}
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir) //nolint:gosec // a directory of this program
		}
	}()
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("hand the connection to ssh: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	file, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("hand the connection to ssh: %w", err)
	}
	defer file.Close()

	cmd := exec.Command(words[0], append(append([]string{}, words[1:]...), "--handover", "--", thing, service)...) //nolint:noctx // it outlives this program
	cmd.Stderr, cmd.ExtraFiles = ownStderr, []*os.File{file}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// A terminal sends its signals to both; others are passed on.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer close(signals)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run culvert connect: %w", err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	if n, _ := ready.Read(make([]byte, 1)); n > 0 {
		self := words[0]
		return []string{"ProxyUseFdpass=yes", "ProxyCommand=" + openssh.Quote(self) + " handover " + openssh.Quote(socket)}, nil
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return nil, &exitError{exit.ExitCode(), nil} // it has said why
	}
	return nil, &exitError{exitFailed, nil}
}

// awaitSSH returns the connection of the ssh that openOwn's caller has become. It gives up when that has ended.
func awaitSSH(ctx context.Context) (net.Conn, error) {
	file := os.NewFile(handoverFD, "listener")
	l, err := net.FileListener(file)
	_ = file.Close()
	if err != nil {
		return nil, fmt.Errorf("--handover: %w", err)
	}
	defer os.RemoveAll(filepath.Dir(l.Addr().String()))
	defer l.Close()
	unix, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.New("--handover: not a Unix socket")
	}
	if _, err := os.Stdout.WriteString("\n"); err != nil {
		return nil, fmt.Errorf("--handover: %w", err)
	}
	for parent := os.Getppid(); ctx.Err() == nil && os.Getppid() == parent; {
		_ = unix.SetDeadline(time.Now().Add(time.Second))
		c, err := unix.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
	}
	return nil, context.Canceled
}

// newHandoverCommand is what ssh runs to get the connection: it passes the descriptor on (ProxyUseFdpass).
func newHandoverCommand() *cobra.Command {
	return &cobra.Command{
		Use: "handover SOCKET", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: args[0], Net: "unix"})
			if err != nil {
				return err
			}
			file, err := c.File()
			if err != nil {
				return err
			}
			return syscall.Sendmsg(int(os.Stdout.Fd()), []byte{0}, syscall.UnixRights(int(file.Fd())), nil, 0)
		},
	}
}
