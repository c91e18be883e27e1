package connect

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
)

// How Auto finds out which form of the protocol a device speaks.
//
// A device that knows V1 only drops its websocket when a stream starts in another form, and comes back. So a
// connection starts without a byte of the client's, which are held until the device has answered or has stood
// for a while. What was never sent can be sent in another form; what was sent is never sent again.
const (
	// holdTime is how long a client's first bytes wait for a device that says nothing, as of a service that
	// waits to be asked. The device's state is looked at after firstLook, and at the end.
	holdTime  = time.Second
	firstLook = 300 * time.Millisecond
	// lookAgain is how long the service may take to show that the device's websocket has ended.
	lookAgain = 300 * time.Millisecond
	// dropsForV1 is how many starts in a row must each make the device drop its websocket before it is taken
	// for one that speaks V1 only: once may be its network.
	dropsForV1 = 2
	// maxStarts bounds the starts of one connection. What was on its way in the other form may still arrive
	// after the device came back, and make it go once more.
	maxStarts = 6
	// backTime is how long a device may take to come back: a stream that starts while it is away is refused.
	backTime = 20 * time.Second
)

// formUnknown reports whether the device has yet to show that it understands the present form. V1 has no
// service ids, so it can only be meant where the tunnel has one service.
func (s *session) formUnknown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Destination == Auto && !s.confirmed && len(s.tunnel().services) == 1
}

// confirmForm records that the device understands the present form.
func (s *session) confirmForm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed, s.drops = true, 0
}

// recordDrop records that a start has made the device drop its websocket.
func (s *session) recordDrop(form proxy.Form) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.confirmed || s.form != form || form == proxy.V1 {
		return
	}
	if s.drops++; s.drops >= dropsForV1 {
		s.cfg.notice("the device speaks V1 only: changing to that; --destination-client-type V1 saves the detour")
		s.changeForm(proxy.V1)
	}
}

// forgetForm goes back to V3 when the device has reconnected: it may run another program by now.
func (s *session) forgetForm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Destination == Auto && s.form == proxy.V1 {
		s.changeForm(proxy.V3)
	}
}

// changeForm makes the next websocket's form another one: forms may not be mixed on one. mu is held.
func (s *session) changeForm(form proxy.Form) {
	s.form, s.confirmed, s.drops, s.source = form, false, 0, nil
	close(s.change)
	s.change = make(chan struct{})
	s.drop(errNewForm)
}

// openHeld carries local, whose bytes are held until the device's form is known. An error means that local is
// left to the caller.
func (s *session) openHeld(ctx context.Context, service string, local net.Conn) error {
	s.lookAtDevice(ctx)
	h := hold(s, local)
	if err := s.open(ctx, service, h); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // it may be meant for the opening alone
	go func() {
		if !s.settle(ctx, service, h) {
			abort(local)
		}
	}()
	return nil
}

// lookAtDevice records since when the device is connected, so that what it went through before a start is not
// taken for a consequence of that start.
func (s *session) lookAtDevice(ctx context.Context) {
	d, err := s.cfg.describe(ctx, s.tunnel().id)
	if err != nil {
		return
	}
	if at, connected := changed(d.DestinationConnectionState); connected {
		s.deviceReturned(at)
	}
}

// settle starts the connection again until the device understands it, and reports whether it does. If not, the
// client has been sent nothing and nothing of the client's was sent.
func (s *session) settle(ctx context.Context, service string, h *held) bool {
	for range maxStarts {
		link, form := s.link(), s.presentForm()
		if s.standsFor(ctx, h) {
			return true
		}
		switch {
		case s.failure() != nil:
			return false
		case s.link() != link: // this side's websocket was lost, which says nothing of the device
		case s.deviceLeft(ctx), backoff.Sleep(ctx, lookAgain) == nil && s.deviceLeft(ctx):
			s.recordDrop(form)
		default:
			return false // the service was refused, or has ended at once
		}
		select { // V1 has room for one
		case <-h.closed:
		case <-s.done:
			return false
		}
		s.awaitDevice(ctx)
		h = hold(s, h.local)
		if err := s.open(ctx, service, h); err != nil {
			s.cfg.Logger.Warn("connection refused", "service", service, "error", err)
			return false
		}
	}
	h.withdraw()
	return false
}

// standsFor reports whether the device answers on h or lets it stand for holdTime, after which h holds nothing
// any more. If not, h has ended.
func (s *session) standsFor(ctx context.Context, h *held) bool {
	for _, wait := range []time.Duration{firstLook, holdTime - firstLook} {
		timer := time.NewTimer(wait)
		select {
		case <-h.released:
			timer.Stop()
			return true
		case <-h.ended:
			timer.Stop()
			return false
		case <-timer.C:
		}
		if s.deviceLeft(ctx) {
			return !h.withdraw()
		}
	}
	return h.release()
}

// deviceLeft reports whether the device's side is no longer connected as it was when it was waited for.
func (s *session) deviceLeft(ctx context.Context) bool {
	d, err := s.cfg.describe(ctx, s.tunnel().id)
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
		d, err := s.cfg.describe(ctx, s.tunnel().id)
		if err == nil {
			at, connected := changed(d.DestinationConnectionState)
			if connected {
				s.setDeviceSince(at)
			}
			if connected || d.Status != types.TunnelStatusOpen {
				return
			}
		}
		if s.failure() != nil || backoff.Sleep(ctx, lookAgain) != nil {
			return
		}
	}
}

// setDeviceSince records since when the device is connected.
func (s *session) setDeviceSince(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.device = since
}

func (s *session) presentForm() proxy.Form {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.form
}

// held is a client's connection that gives nothing to the tunnel until the device's first bytes have come, or
// until it is released. If it ends before that, the client's connection is as it was, for another start.
type held struct {
	net.Conn // the client's; it hides the descriptor, which the tunnel would read directly

	local    net.Conn // the same
	session  *session
	mu       sync.Mutex
	settled  bool
	half     bool          // CloseWrite came before the release
	released chan struct{} // closed when the tunnel has the client's connection to itself
	ended    chan struct{} // closed when it ended before that
	closing  sync.Once
	closed   chan struct{} // closed when the tunnel has no more to do with it
}

func hold(s *session, local net.Conn) *held {
	return &held{
		Conn: local, local: local, session: s,
		released: make(chan struct{}), ended: make(chan struct{}), closed: make(chan struct{}),
	}
}

// settleAs closes one of the two channels, the first time, and reports whether that one is closed.
func (h *held) settleAs(how chan struct{}) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.settled {
		h.settled = true
		close(how)
	}
	select {
	case <-how:
		return true
	default:
		return false
	}
}

// release gives the client's connection to the tunnel, and reports whether the tunnel has it.
func (h *held) release() bool {
	if !h.settleAs(h.released) {
		return false
	}
	h.mu.Lock()
	half := h.half
	h.half = false
	h.mu.Unlock()
	if half {
		_ = closeWrite(h.Conn)
	}
	return true
}

// withdraw takes it from the tunnel, and reports whether that was in time.
func (h *held) withdraw() bool { return h.settleAs(h.ended) }

// Read gives nothing before the release, and fails after a withdrawal.
func (h *held) Read(p []byte) (int, error) {
	select {
	case <-h.released:
		return h.Conn.Read(p)
	case <-h.ended:
		return 0, net.ErrClosed
	}
}

// Write takes the device's bytes. The first show that it understands the form.
func (h *held) Write(p []byte) (int, error) {
	if !h.release() {
		return 0, net.ErrClosed
	}
	h.session.confirmForm()
	return h.Conn.Write(p)
}

// Answered is called when a Culvert at the other end has answered: it understands the form, and nothing need be
// held, even if the service waits for the client to speak first.
func (h *held) Answered() {
	if h.release() {
		h.session.confirmForm()
	}
	if a, ok := h.local.(proxy.Answerer); ok {
		a.Answered()
	}
}

// CloseWrite passes the end of the service's output on, after the release. As its first sign it says nothing
// of the form: the tunnel ends a stream that was refused like that, too.
func (h *held) CloseWrite() error {
	h.mu.Lock()
	if !h.settled {
		h.half = true
		h.mu.Unlock()
		return nil
	}
	h.mu.Unlock()
	return closeWrite(h.Conn)
}

// SetReadDeadline is how the tunnel reads the last of a connection that has ended.
func (h *held) SetReadDeadline(t time.Time) error {
	h.withdraw()
	return h.Conn.SetReadDeadline(t)
}

// NetConn returns the client's connection, to set its options.
func (h *held) NetConn() net.Conn { return h.Conn }

// SetLinger is net.TCPConn's, where the client's connection has it.
func (h *held) SetLinger(seconds int) error {
	if l, ok := h.Conn.(lingerer); ok {
		return l.SetLinger(seconds)
	}
	return nil
}

// Break passes on the cause of an end that is not orderly.
func (h *held) Break(why proxy.Reason) {
	if b, ok := h.Conn.(proxy.Breaker); ok {
		b.Break(why)
	}
}

// Close ends the client's connection, if the tunnel has it.
func (h *held) Close() error {
	defer h.closing.Do(func() { close(h.closed) })
	if h.withdraw() {
		return nil
	}
	return h.Conn.Close()
}

// lingerer is a connection that can be reset: SetLinger(0), then Close.
type lingerer interface{ SetLinger(seconds int) error }

// abort closes c so that its other end sees a failure, not an orderly end.
func abort(c net.Conn) {
	if l, ok := c.(lingerer); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
}

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
