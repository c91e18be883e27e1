package accept

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
)

// How long Acceptor waits after a temporary error, as package net/http does, and how often it warns: at the
// edge of a limit each connection that ends lets one in, and the next fails again.
const (
	acceptDelay    = 5 * time.Millisecond
	maxAcceptDelay = time.Second
	acceptWarning  = time.Minute
)

// Acceptor takes connections from a listener and survives temporary errors: a process without a free file
// descriptor must not lose its port. Meanwhile clients wait in the listener's own queue.
type Acceptor struct {
	Listener net.Listener
	// Warn, if set, is called with a temporary error, at most once a minute.
	Warn func(error)

	delay  time.Duration // 0 unless the last Accept failed
	warned time.Time
}

// Next returns the next connection, or the error that ends the listener. When ctx ends while it waits, it
// returns ctx's cause; it does not end an Accept under way, closing the listener does. Only one goroutine
// may call it.
func (a *Acceptor) Next(ctx context.Context) (net.Conn, error) {
	for {
		c, err := a.Listener.Accept()
		if err == nil {
			a.delay = 0
			return c, nil
		}
		if !temporary(err) {
			return nil, err
		}
		if now := time.Now(); a.Warn != nil && (a.warned.IsZero() || now.Sub(a.warned) >= acceptWarning) {
			a.warned = now
			a.Warn(advise(err))
		}
		a.delay = min(max(2*a.delay, acceptDelay), maxAcceptDelay)
		timer := time.NewTimer(a.delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// ending are the errors of accept(2) that are about the listener itself. All others are temporary: besides a lack of
// descriptors and memory, what the network had to say of a client that is gone already.
var ending = []syscall.Errno{
	syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP, syscall.EFAULT,
	10009, 10022, 10038, 10045, 10014, // the same of Windows' sockets
}

func temporary(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && !errors.Is(err, net.ErrClosed) && !slices.Contains(ending, errno)
}

// advise attaches a hint about a lack of file descriptors.
func advise(err error) error {
	if errors.Is(err, syscall.EMFILE) {
		return hint.Wrap(err, "close connections, or raise the limit of open files (ulimit -n)")
	}
	return err
}
