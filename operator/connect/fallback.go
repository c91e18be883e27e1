package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
)

// What is tried before a device is taken for one that speaks V1 only.
const (
	// probeBytes is how much of the client's input is kept, to be sent again in the other form.
	probeBytes = 64 << 10
	// probeTime is how long a device that says nothing is suspected; probePoll is how often it is looked at.
	probeTime = 30 * time.Second
	probePoll = time.Second
	// probeFull is how long for a client that has said more than is kept.
	probeFull  = 3 * time.Second
	probePause = 300 * time.Millisecond
	// backTime is how long a device may take to come back after it gave up on the form that it does not know: a
	// stream that starts while nobody is there is refused.
	backTime = 20 * time.Second
	// probeForms is how often a connection is begun in the form of V1. What was still on its way in the other form when
	// the device came back makes it go once more, and with it the stream that was just begun.
	probeForms = 4
)

// errNewForm ends a websocket to begin another one in the other form: forms may not be mixed on one.
var errNewForm = errors.New("the device speaks V1")

// formUnknown tells whether the next connection has to show which form the device speaks. V1 has no service ids, so it can
// only be meant where the tunnel has one service.
func (s *session) formUnknown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Destination == Auto && !s.confirmed && len(s.tunnel.services) == 1
}

// confirmForm notes that the device understands the present form.
func (s *session) confirmForm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed = true
}

// fallBackToV1 changes the form of all that follows.
func (s *session) fallBackToV1() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.confirmed || s.form == proxy.V1 {
		return
	}
	s.form, s.confirmed, s.source = proxy.V1, true, nil
	close(s.change)
	s.change = make(chan struct{})
	s.drop()
}

// try carries local in the form of V3 and, if the device turns out not to know it, in that of V1. An error means that
// local is left to the caller.
func (s *session) try(ctx context.Context, service string, local net.Conn) error {
	near, far, err := s.begin(ctx, service)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // it may be meant for the opening alone
	over := make(chan struct{})
	go func() {
		select {
		case <-s.done: // it has closed far
			_ = local.Close()
		case <-over:
		}
	}()
	go func() {
		defer close(over)
		s.first(ctx, service, near, far, local)
		_ = local.Close()
	}()
	return nil
}

// begin opens a connection to service that ends here.
func (s *session) begin(ctx context.Context, service string) (near net.Conn, far *watched, err error) {
	near, end, err := pair()
	if err != nil {
		return nil, nil, err
	}
	far = &watched{stream: end.(stream), closed: make(chan struct{})}
	if err := s.open(ctx, service, far); err != nil {
		_, _ = near.Close(), far.Close()
		return nil, nil, err
	}
	return near, far, nil
}

// first carries a connection whose beginning is on trial, which may take several beginnings, to its end.
func (s *session) first(ctx context.Context, service string, near net.Conn, far *watched, local net.Conn) {
	words := make([]byte, 32<<10)
	in := &input{}
	for forms := 0; ; forms++ {
		link := s.link()
		copied := in.start(near, local)
		n, err := s.listen(ctx, near, in, words)
		if errors.Is(err, errNewForm) && (backoff.Sleep(ctx, probePause) != nil || s.link() != link) {
			err = io.EOF // it was this side's websocket that was lost, which says nothing of the device
		}
		if !errors.Is(err, errNewForm) || forms == probeForms {
			in.decide(false)
			if n > 0 { // else it was refused, or has ended without a word
				s.confirmForm()
				s.rest(words[:n], near, far, local, copied)
			}
			_ = near.Close()
			return
		}
		if forms == 0 {
			s.cfg.notice("the device speaks V1 only: changing to that; --destination-client-type V1 saves the detour")
		}
		in.decide(true)
		_ = local.SetReadDeadline(time.Unix(1, 0)) // to go on in another way
		_ = near.Close()
		<-copied
		_ = local.SetReadDeadline(time.Time{})
		s.fallBackToV1()
		select { // V1 has room for one
		case <-far.closed:
		case <-s.done:
			return
		}
		s.awaitDevice(ctx)
		if near, far, err = s.begin(ctx, service); err != nil {
			s.cfg.Logger.Warn("connection refused", "service", service, "error", err)
			return
		}
	}
}

// rest carries what follows the device's first words.
func (s *session) rest(words []byte, near net.Conn, far *watched, local net.Conn, copied <-chan struct{}) {
	if _, err := local.Write(words); err != nil {
		return
	}
	if _, err := io.Copy(local, near); err != nil {
		return
	}
	closeWrite(local)
	select {
	case <-copied:
	case <-far.closed: // not only one direction has ended
	}
}

// stream is what both kinds of pairs are made of.
type stream interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// watched tells when it was closed.
type watched struct {
	stream

	once   sync.Once
	closed chan struct{}
}

func (w *watched) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.stream.Close()
}

// listen reads the device's first words. errNewForm says that there were none, and why.
func (s *session) listen(ctx context.Context, near net.Conn, in *input, words []byte) (int, error) {
	defer func() { _ = near.SetReadDeadline(time.Time{}) }()
	for began := time.Now(); ; {
		_ = near.SetReadDeadline(time.Now().Add(probePoll))
		n, err := near.Read(words)
		waited := time.Since(began)
		switch {
		case n > 0:
			return n, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			// Refused, or the device's side is gone, which its state may show only a moment later.
			if s.reconnected(ctx) || backoff.Sleep(ctx, probePause) == nil && s.reconnected(ctx) {
				return 0, errNewForm
			}
			return 0, err
		case s.reconnected(ctx):
			return 0, errNewForm
		case waited > probeTime, waited > probeFull && in.full.Load():
			// A service that waits to be asked, or only listens.
			s.confirmForm()
			in.decide(false)
			_ = near.SetReadDeadline(time.Time{})
			return near.Read(words)
		}
	}
}

// reconnected tells whether the device's side is no more connected as it was when it was waited for.
func (s *session) reconnected(ctx context.Context) bool {
	d, err := s.cfg.describe(ctx, s.tunnel.id)
	if err != nil || d.Status != types.TunnelStatusOpen {
		return false
	}
	at, connected := changed(d.DestinationConnectionState)
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.device.IsZero() && (!connected || at.After(s.device))
}

// awaitDevice waits until the device's side is connected, for backTime at most.
func (s *session) awaitDevice(ctx context.Context) {
	for began := time.Now(); time.Since(began) < backTime; {
		d, err := s.cfg.describe(ctx, s.tunnel.id)
		if err == nil {
			at, connected := changed(d.DestinationConnectionState)
			if connected {
				s.setDeviceSince(at)
			}
			if connected || d.Status != types.TunnelStatusOpen {
				return
			}
		}
		if s.failure() != nil || backoff.Sleep(ctx, probePause) != nil {
			return
		}
	}
}

// input is what a client says, kept until it is decided whether it must be said again.
type input struct {
	decided chan struct{} // of the present beginning
	once    *sync.Once
	again   bool        // how; set before decided is closed
	full    atomic.Bool // no more is kept, nor copied

	kept  []byte
	ended bool // the client has no more
}

// start says to near what the client said before, and all that it says from now on, in a goroutine until copied is
// closed. It may be called again once that is, after decide(true).
func (in *input) start(near, client net.Conn) (copied <-chan struct{}) {
	over := make(chan struct{})
	in.decided, in.once, in.again = make(chan struct{}), new(sync.Once), false
	in.full.Store(false)
	go func() {
		defer close(over)
		in.copy(near, client)
	}()
	return over
}

func (in *input) decide(again bool) {
	in.once.Do(func() {
		in.again = again
		close(in.decided)
	})
}

// copy copies until the end, or until it has to be done again.
func (in *input) copy(to, from net.Conn) {
	_, writeErr := to.Write(in.kept)
	if in.ended {
		closeWrite(to)
		return
	}
	buf := make([]byte, 32<<10)
	for keeping := true; ; {
		if keeping && len(in.kept) >= probeBytes {
			in.full.Store(true)
			<-in.decided
		}
		if keeping {
			select {
			case <-in.decided:
				if in.again {
					return
				}
				keeping, in.kept = false, nil
			default:
			}
		}
		if writeErr != nil && !keeping {
			return
		}
		n, err := from.Read(buf)
		if keeping {
			in.kept = append(in.kept, buf[:n]...)
		}
		if n > 0 {
			_, writeErr = to.Write(buf[:n])
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			in.ended = true
			closeWrite(to)
			return
		}
	}
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// setDeviceSince notes since when the device is there.
func (s *session) setDeviceSince(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.device = since
}
