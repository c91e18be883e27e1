package holder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Key names the holder for things that are seen the same way: parts are everything that decides which tunnel a command reaches
// and as whom. It is a hash, since a socket's path must be short.
func Key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:10])
}

// maxDirectory leaves room for a socket's name: a path has 103 bytes on some systems, and 107 on Linux.
const maxDirectory = 103 - len("/") - 20 - len(ownMark) - 2*ownNumber

// Directory returns the user's private directory of sockets, and makes it if it is missing: culvert below XDG_RUNTIME_DIR, or
// else culvert-UID in the directory for temporary files.
//
// It fails if others may enter it or have put it there.
func Directory() (string, error) {
	uid := os.Getuid()
	dir := filepath.Join(os.TempDir(), "culvert-"+strconv.Itoa(uid))
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		if _, err := os.Stat(runtime); err == nil { //nolint:gosec // G703: the directory is the user's own choice
			dir = filepath.Join(runtime, "culvert")
		}
	}
	if len(dir) > maxDirectory {
		return "", fmt.Errorf("%s is too long a path for sockets: %d bytes at most", dir, maxDirectory)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // G703: the directory is the user's own choice
		return "", err
	}
	info, err := os.Lstat(dir) //nolint:gosec // G703: the directory is the user's own choice
	switch {
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", fmt.Errorf("%s is not a directory", dir)
	case !ownedBy(info, uid):
		return "", hint.New(dir+" belongs to another user", "set XDG_RUNTIME_DIR to a directory of your own")
	case info.Mode().Perm()&0o077 != 0:
		return "", hint.New(fmt.Sprintf("%s is not private: its mode is %o, and 700 is needed", dir, info.Mode().Perm()), "if you made it, run: chmod 700 "+dir)
	}
	return dir, nil
}

// Suffixes of a holder's files.
const (
	socketSuffix = ".sock"
	logSuffix    = ".log" // also the lock of what happens to the socket
)

// dial connects to a socket if its other end is this user's.
func dial(path string) (net.Conn, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := checkPeer(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

var errStranger = errors.New("another user is at the other end of the socket")

func checkPeer(c *net.UnixConn) error {
	uid, err := peerUser(c)
	if err != nil {
		return err
	}
	if uid != os.Getuid() {
		return errStranger
	}
	return nil
}

// All returns the state of the holders in dir, and the logs of those that do not answer: their processes are stopped, or
// hang.
func All(dir, version string) (list []Status, silent []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	answers := make([]answer, len(entries))
	errs := make([]error, len(entries))
	var all sync.WaitGroup
	for i, e := range entries {
		if strings.HasSuffix(e.Name(), socketSuffix) {
			all.Go(func() { // each may take all of its time
				answers[i], errs[i] = ask(context.Background(), filepath.Join(dir, e.Name()), Request{Version: version, Op: opStatus}, statusTime)
			})
		}
	}
	all.Wait()
	for i, e := range entries {
		path := filepath.Join(dir, e.Name())
		if errors.Is(errs[i], os.ErrDeadlineExceeded) {
			silent = append(silent, strings.TrimSuffix(path, socketSuffix)+logSuffix)
		}
		if status := answers[i].Status; errs[i] == nil && status != nil {
			status.socket = path
			list = append(list, *status)
		}
	}
	return list, silent, nil
}

// Close ends the holders of thing in dir, which close the tunnels that they opened, and returns how many there were.
// See [All] for silent.
func Close(dir, version, thing string) (closed int, silent []string, err error) {
	list, silent, err := All(dir, version)
	for _, h := range list {
		if h.Thing != thing {
			continue
		}
		closed++
		a, askErr := ask(context.Background(), h.socket, Request{Version: version, Op: opClose}, closeTime)
		if askErr == nil {
			askErr = a.Error.err()
		}
		err = errors.Join(err, askErr)
	}
	return closed, silent, err
}

// closeTime bounds the end of a holder. Closing tunnels takes 5 s each.
const closeTime = 20 * time.Second

// ask makes a request that needs no tunnel, within patience or until ctx ends.
func ask(ctx context.Context, path string, r Request, patience time.Duration) (answer, error) {
	c, err := dial(path)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_ = c.SetDeadline(time.Now().Add(patience))
	l := newLink(c)
	var a answer
	if err := l.writeJSON(frameRequest, r); err != nil {
		return answer{}, err
	}
	err = l.expect(frameAnswer, &a)
	return a, err
}
