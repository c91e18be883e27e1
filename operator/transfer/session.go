package transfer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/pkg/sftp"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Session is a connection to another machine's SFTP server. It is safe for concurrent use.
type Session struct {
	c     *sftp.Client
	home  string
	slots *slots
	ended chan struct{}

	decided chan struct{} // closed when it is certain whether there is a shell
	shell   *shell        // after decided; nil: none
}

// NewSession begins an SFTP session. r and w are the server's output and input.
func NewSession(r io.Reader, w io.WriteCloser) (*Session, error) {
	c, err := sftp.NewClientPipe(r, w, sftp.MaxPacketUnchecked(packetSize))
	if err != nil {
		return nil, fmt.Errorf("begin the SFTP session: %w", err)
	}
	s := &Session{c: c, slots: newSlots(), ended: make(chan struct{}), decided: make(chan struct{})}
	go func() {
		_ = c.Wait() // the owner of the pipes knows why it ended
		close(s.ended)
	}()
	if s.home, err = c.RealPath("."); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("find the home directory: %w", reason(err))
	}
	return s, nil
}

// UseShell makes the session hash files with a POSIX shell of the same machine. r and w are its output and input. It
// fails if the shell finds no program that hashes, or sees other files than the SFTP server. It may run concurrently
// with [Copier.Run], which waits for it when it needs hashes. One of UseShell and [Session.NoShell] must be called.
func (s *Session) UseShell(r io.Reader, w io.WriteCloser) error {
	defer close(s.decided)
	sh, dir, err := newShell(r, w)
	if err != nil {
		return errors.New("its user may run no shell")
	}
	switch dir {
	case "":
		_ = sh.Close()
		return errors.New("it has neither sha256sum, shasum nor openssl")
	case s.home:
		s.shell = sh
		return nil
	}
	_ = sh.Close()
	return fmt.Errorf("its shell starts in %s and its SFTP server in %s, so the two may see different files", dir, s.home)
}

// NoShell makes the session do without hashes of the other machine.
func (s *Session) NoShell() { close(s.decided) }

// hasher waits for the shell that hashes. It returns nil if there is none.
func (s *Session) hasher() (*shell, error) {
	select {
	case <-s.decided:
		return s.shell, nil
	case <-s.ended:
		return nil, sftp.ErrSSHFxConnectionLost
	}
}

// Close ends the session. The owner of the shell's pipes ends the shell.
func (s *Session) Close() {
	select {
	case <-s.decided:
		if s.shell != nil {
			_ = s.shell.Close()
		}
	default:
	}
	_ = s.c.Close()
}

// path makes a path of a [Location] absolute.
func (s *Session) path(p string) string {
	if path.IsAbs(p) {
		return p
	}
	full := s.home + "/" + p
	if p == "" {
		full = s.home
	}
	return full
}

// isLost reports whether err means a lost connection, rather than one failed request.
func isLost(err error) bool {
	return errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, errShellLost) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed)
}

// reason returns the cause without the system call and the path, which messages name themselves.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*sftp.StatusError](err); ok {
		switch code := e.FxCode(); code {
		case sftp.ErrSSHFxFailure:
			return errFailure
		case sftp.ErrSSHFxOpUnsupported:
			return errors.New("the SFTP server cannot do it")
		default:
			return fmt.Errorf("the SFTP server answered: %w", code)
		}
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return errors.New("permission denied")
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("no such file or directory")
	}
	return err
}

// errFailure is an SFTP server's answer to every failure without a code of its own in the protocol.
var errFailure = errors.New("the SFTP server refused, without a reason")

// failf returns an error that begins with the failed step.
func failf(err error, format string, args ...any) error {
	return &opError{fmt.Sprintf(format, args...), err}
}

// opError is a failed step and its cause.
type opError struct {
	what string
	err  error
}

func (e *opError) Error() string { return e.what + ": " + reason(e.err).Error() }
func (e *opError) Unwrap() error { return e.err }

// Hint returns the advice of the cause.
func (e *opError) Hint() string { return hint.Of(e.err) }
