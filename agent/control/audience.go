package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// audience is who may use the socket besides root and the daemon's own user: one group, or none.
type audience struct {
	name string
	gid  int // -1: no group
}

func findAudience(group string) (audience, error) {
	if group == "" {
		return audience{gid: -1}, nil
	}
	id := group
	if _, err := strconv.ParseUint(group, 10, 31); err != nil {
		found, err := user.LookupGroup(group)
		if err != nil {
			return audience{}, fmt.Errorf("control.group: this machine has no group %q: make it with groupadd, or correct the name", group)
		}
		id = found.Gid
	}
	gid, err := strconv.Atoi(id)
	if err != nil {
		return audience{}, fmt.Errorf("control.group: group %q has the number %q, which is none", group, id)
	}
	return audience{group, gid}, nil
}

// makeDir makes the socket's directory if it is missing. One that is there stays as it is.
func (a audience) makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil || a.gid < 0 {
		return err
	}
	if err := a.give(dir); err != nil {
		return err
	}
	return os.Chmod(dir, 0o750) //nolint:gosec // for the group
}

// admit lets the group use a socket.
func (a audience) admit(socket string) error {
	if a.gid < 0 {
		return os.Chmod(socket, 0o600)
	}
	if err := a.give(socket); err != nil {
		return err
	}
	return os.Chmod(socket, 0o660) //nolint:gosec // for the group
}

func (a audience) give(path string) error {
	if err := os.Chown(path, -1, a.gid); err != nil {
		return fmt.Errorf("give %s to group %s, of which culvertd's user must be a member: %w", path, a.name, err)
	}
	return nil
}

// listenPrivately makes a socket that has mode 0600 from its first moment on: Linux gives the file the mode
// that the socket had before it was bound.
func listenPrivately(path string) (*net.UnixListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { closeToOthers(fd) })
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil //nolint:forcetypeassert // it is what Listen makes of "unix"
}
