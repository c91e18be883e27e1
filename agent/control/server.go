package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/accept"
	"github.com/culvert-iot/culvert/internal/filelock"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/trust"
)

// ErrRunning says that another daemon answers on the socket.
var ErrRunning = errors.New("another culvertd is running")

// maxClients bounds the requests that are served at one time. More wait in the socket's own queue.
const maxClients = 8

const (
	maxPath   = 107    // the longest path of a unix socket on Linux (unix(7))
	newSuffix = ".new" // of a socket that is being made
)

// Handler answers a request. The result is marshalled as JSON.
type Handler func(ctx context.Context, r Request) (result any, err error)

// Server is a socket that is listened on.
type Server struct {
	path     string
	listener *net.UnixListener
	lock     io.Closer
	log      *slog.Logger
}

// Listen makes the socket with mode 0600, and its directory with 0700 if it is missing. With a group, by its
// name or number, they have 0660 and 0750 and are the group's. A socket without a daemon behind it is replaced; if
// a daemon does, the error is ErrRunning. All errors carry hints.
func Listen(path, group string, log *slog.Logger) (*Server, error) {
	if len(path) > maxPath {
		return nil, hint.Wrap(fmt.Errorf("control socket %s: the path has %d characters, more than the %d that a socket's may have", path, len(path), maxPath),
			"set control.socket to a shorter one")
	}
	who, err := findAudience(group)
	if err != nil {
		return nil, err
	}
	if err := who.makeDir(filepath.Dir(path)); err != nil {
		return nil, advise(path, err)
	}
	if err := trust.Directory(filepath.Dir(path)); err != nil {
		log.Warn("the control socket's directory is open to others, who could answer in culvertd's place", "error", hint.Line(err))
	}
	// Two daemons that start at the same moment may both find the socket dead: the lock tells them apart.
	// The kernel drops it with its holder.
	lock, err := filelock.Lock(path + ".lock")
	if errors.Is(err, filelock.ErrLocked) {
		err = fmt.Errorf("%w: it holds %s.lock", ErrRunning, path)
	}
	if err != nil {
		return nil, advise(path, err)
	}
	listener, err := listen(path, who)
	if err != nil {
		_ = lock.Close()
		return nil, advise(path, err)
	}
	return &Server{path: path, listener: listener, lock: lock, log: log}, nil
}

// listen puts a new socket in the place of path. It is made under another name first, so that it never
// stands there with a mode that lets others in.
func listen(path string, who audience) (*net.UnixListener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s exists and is not a socket", path)
	}
	if err == nil {
		// A socket that another user plants must not keep the daemon from running.
		if err := trust.Planted(path, info); err != nil {
			return nil, err
		}
		if alive(path) {
			return nil, fmt.Errorf("%w and answers on %s", ErrRunning, path)
		}
	}
	temp := tempName(path)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := listenPrivately(temp)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = who.admit(temp)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(temp)
		return nil, err
	}
	return l, nil
}

// tempName is the path with a suffix, which takes the place of the last characters if it would get too long.
func tempName(path string) string {
	return path[:min(len(path), maxPath-len(newSuffix))] + newSuffix
}

func alive(path string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// advise names the socket and attaches a hint, unless err has a more precise one.
func advise(path string, err error) error {
	if errors.Is(err, ErrRunning) {
		return hint.Wrap(err, "culvertd status shows it; to run another, stop it first (sudo systemctl stop culvertd)")
	}
	advice := "correct control.socket, or set it to \"\" to do without"
	switch dir := filepath.Dir(path); {
	case hint.Of(err) != "":
		advice = ""
	case errors.Is(err, fs.ErrPermission):
		advice = "let culvertd's user write to " + dir + ", or set control.socket"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		advice = "free some space or inodes for " + dir + ", or set control.socket"
	case errors.Is(err, syscall.EROFS):
		advice = "set control.socket to a path on a writable file system"
	}
	return hint.Wrap(fmt.Errorf("control socket %s: %w", path, err), advice)
}

// Serve answers requests until ctx ends, and then removes the socket. It returns when the last answer is
// given.
func (s *Server) Serve(ctx context.Context, handle Handler) error {
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stop()
	var clients sync.WaitGroup
	defer func() {
		clients.Wait()
		s.Close()
	}()
	places := make(chan struct{}, maxClients)
	accepting := accept.Acceptor{Listener: s.listener, Warn: func(err error) {
		s.log.Warn("control socket cannot accept for now", "error", hint.Line(err))
	}}
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := accepting.Next(ctx)
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return err
		}
		clients.Go(func() {
			defer func() { <-places }()
			s.serve(ctx, conn, handle)
		})
	}
}

// serve takes one request from conn and answers it.
func (s *Server) serve(ctx context.Context, conn net.Conn, handle Handler) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetReadDeadline(time.Now().Add(timeout))
	line, err := readLine(conn, maxRequest)
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return // the caller only checked that a daemon is there
	}
	var result any
	if err == nil {
		var request Request
		if request, err = decodeRequest(line); err == nil {
			result, err = handle(ctx, request)
		}
	}
	a := answer{}
	if err == nil {
		a.Result, err = json.Marshal(result)
	}
	if err != nil {
		a.Error = hint.Line(err)
	}
	data, err := json.Marshal(a)
	if err != nil {
		s.log.Error("control answer cannot be encoded", "error", err)
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := conn.Write(append(data, '\n')); err != nil {
		s.log.Debug("control client is gone", "error", err)
	}
}

// Close removes the socket of a server whose Serve was never called, or has ended. The lock's file stays:
// it may be another daemon's by now.
func (s *Server) Close() {
	_ = s.listener.Close()
	if s.lock != nil {
		_ = os.Remove(s.path)
		_ = s.lock.Close()
		s.lock = nil
	}
}
