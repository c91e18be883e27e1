package holder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/filelock"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
)

// Client finds a thing's holder, or starts it.
type Client struct {
	Thing   string
	Dir     string // see [Directory]
	Key     string // see [Key]
	Version string // of the program

	// Command is the program that becomes the holder, with its arguments: it finds the listener at [ListenerFD] and calls
	// [Run]. Its standard streams are the log. nil starts none.
	Command []string
}

// ErrNone means that no holder runs, and that the client may not start one.
var ErrNone = errors.New("no holder runs")

// ErrSilent means that the holder does not answer: its process is stopped, or hangs.
var ErrSilent = errors.New("its background holder does not answer: it is stopped or hangs")

// A working holder reads each request at once, but may be silent while it opens a tunnel. So a client asks a holder
// that has been silent for quietTime for its status, which takes no longer than statusTime.
const (
	quietTime  = 2 * time.Second
	statusTime = 4 * time.Second
)

// attempts bounds how often a holder may end during a client's request before the client gives up.
const attempts = 4

// Attach returns a tunnel of the thing's holder with the services of r. It starts the holder if there is none. event
// gets the holder's events until the result is closed.
//
// Errors are [ErrNone], [ErrSilent], those of [connect.Open], *[Error] for those of the control API, and the cause of ctx.
func (c *Client) Attach(ctx context.Context, r Request, event func(connect.Event)) (*Tunnel, error) {
	r.Version, r.Op = c.Version, opAttach
	var mu sync.Mutex
	t := &Tunnel{client: c, request: r, done: make(chan struct{}), event: func(e connect.Event) {
		mu.Lock()
		defer mu.Unlock()
		event(e)
	}}
	l, a, err := c.begin(ctx, r, t.event)
	if err != nil {
		return nil, err
	}
	t.link, t.id, t.opened, t.log, t.address = l, a.Tunnel, a.Opened, a.Log, a.Address
	t.request.Share = a.Share
	go t.follow()
	return t, nil
}

// begin sends a request, and returns the answer of a holder that takes it.
func (c *Client) begin(ctx context.Context, r Request, event func(connect.Event)) (*link, answer, error) {
	var last error
	for i := range attempts {
		if i > 0 {
			if err := backoff.Sleep(ctx, time.Duration(i)*50*time.Millisecond); err != nil {
				return nil, answer{}, err
			}
		}
		nc, err := c.connection(ctx)
		if err != nil {
			return nil, answer{}, err
		}
		l := newLink(nc)
		a, err := c.requestWatched(ctx, l, r, event)
		if err == nil && a.Error == nil {
			return l, a, nil
		}
		_ = l.Close()
		switch {
		case ctx.Err() != nil:
			return nil, answer{}, context.Cause(ctx)
		case errors.Is(err, ErrSilent):
			return nil, answer{}, err
		case err != nil: // the holder has ended: it was killed, or was about to go
			last = err
		case a.Error.Reason != reasonVersion && a.Error.Reason != reasonStopped:
			return nil, answer{}, a.Error.err()
		default:
			last = a.Error.err()
		}
	}
	return nil, answer{}, hint.Wrap(fmt.Errorf("the background holder of %s's tunnel does not stay: %w", c.Thing, last),
		"see its log "+c.path(logSuffix)+", or do without it: --no-share")
}

// requestWatched is request, which it ends with [ErrSilent] if the holder does not answer.
func (c *Client) requestWatched(ctx context.Context, l *link, r Request, event func(connect.Event)) (answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() {
		for backoff.Sleep(ctx, quietTime) == nil {
			_, err := ask(ctx, c.path(socketSuffix), Request{Version: c.Version, Op: opStatus}, statusTime)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				cancel(ErrSilent)
			}
		}
	})
	a, err := l.request(ctx, r, event)
	if err != nil && errors.Is(context.Cause(ctx), ErrSilent) {
		err = ErrSilent
	}
	return a, err
}

// request waits for the answer. It closes the link when ctx ends.
func (l *link) request(ctx context.Context, r Request, event func(connect.Event)) (a answer, err error) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	if err := l.writeJSON(frameRequest, r); err != nil {
		return a, err
	}
	for {
		kind, size, err := l.header()
		if err != nil {
			return a, err
		}
		switch kind {
		case frameAnswer:
			return a, l.decode(size, &a)
		case frameEvent:
			var e connect.Event
			if err := l.decode(size, &e); err != nil {
				return a, err
			}
			event(e)
		default:
			return a, fmt.Errorf("frame %q came before the answer", kind)
		}
	}
}

func (c *Client) path(suffix string) string { return filepath.Join(c.Dir, c.Key+suffix) }

// lockTime is how long a client waits while another client starts the holder, or a holder ends.
const lockTime = 20 * time.Second

// connection connects to the holder. If there is none, it starts one.
func (c *Client) connection(ctx context.Context) (net.Conn, error) {
	path := c.path(socketSuffix)
	for began := time.Now(); ; {
		nc, err := dial(path)
		if !isAbsent(err) {
			return nc, err
		}
		if c.Command == nil {
			return nil, ErrNone
		}
		lock, err := filelock.Lock(c.path(logSuffix))
		switch {
		case err == nil:
			nc, err := c.startLocked(path)
			_ = lock.Close()
			return nc, err
		case !errors.Is(err, filelock.ErrLocked):
			return nil, err
		case time.Since(began) > lockTime:
			return nil, hint.New("another command is starting or ending the holder of "+c.Thing+"'s tunnel, and does not finish", "do without it: --no-share")
		}
		if err := backoff.Sleep(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// startLocked starts a holder, if no other client has.
func (c *Client) startLocked(path string) (net.Conn, error) {
	nc, err := dial(path)
	if !isAbsent(err) {
		return nc, err
	}
	c.removeDead()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// It listens before the holder does, so that a client that connects from now on waits for the holder's answer.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	if nc, err = dial(path); err != nil {
		return nil, err
	}
	if err := c.start(l); err != nil {
		_ = nc.Close()
		_ = os.Remove(path)
		return nil, hint.Wrap(fmt.Errorf("start the holder of %s's tunnel: %w", c.Thing, err), "do without it: --no-share")
	}
	return nc, nil
}

// isAbsent reports whether err of [dial] means that nothing listens.
func isAbsent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// Tunnel is a client's share of a holder's tunnel. It is safe for concurrent use.
type Tunnel struct {
	client  *Client
	request Request
	link    *link
	id, log string
	address string // the holder's own
	opened  bool
	event   func(connect.Event)

	closed atomic.Bool // by Close
	done   chan struct{}
	err    error // after done
}

// follow passes events on until the tunnel has ended.
func (t *Tunnel) follow() {
	defer close(t.done)
	s := &stream{link: t.link, event: t.event, gone: t.gone}
	_, err := s.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) && !t.closed.Load() {
		t.err = err
	}
}

// gone explains an end without a reason.
func (t *Tunnel) gone() error {
	return hint.Wrap(&connect.Error{Reason: connect.LinkLost, Text: "the background holder of " + t.client.Thing + "'s tunnel has ended unexpectedly"},
		"run the command again: it starts a new one; this one's log is "+t.log)
}

// ID returns the tunnel's id.
func (t *Tunnel) ID() string { return t.id }

// Opened reports whether the holder opened the tunnel, and did not find it.
func (t *Tunnel) Opened() bool { return t.opened }

// Done is closed when the tunnel cannot be used any more: see [connect.Tunnel.Done]. The end of the holder is one more reason.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Err returns the reason, after Done.
func (t *Tunnel) Err() error { return t.err }

// Close leaves the tunnel to the holder.
func (t *Tunnel) Close() error {
	t.closed.Store(true)
	_ = t.link.Close()
	<-t.done
	return nil
}

// Dial opens a connection to a service, with the properties of [connect.Tunnel.Dial]'s.
func (t *Tunnel) Dial(ctx context.Context, service string) (net.Conn, error) {
	r := t.request
	r.Op, r.Services = opConnect, []string{service}
	nc, err := dial(t.address)
	if isAbsent(err) {
		return nil, t.gone()
	}
	if err != nil {
		return nil, err
	}
	l := newLink(nc)
	a, err := l.request(ctx, r, t.event)
	switch {
	case err == nil && a.Error == nil:
		return &stream{link: l, event: t.event, gone: t.gone}, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil:
		err = t.gone()
	default:
		err = a.Error.err()
	}
	_ = l.Close()
	return nil, err
}
