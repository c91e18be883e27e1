package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/proxy"
)

// A tunnel ends when it expires or an operator closes it. Connections to a Culvert outlive it: the device recognizes
// them on any tunnel.
const (
	// successorLead is how long before a tunnel's expiry its connections move to another one. It leaves time for a slow
	// device, and for more than one try.
	successorLead = 3 * time.Minute
	// successorRetry is how long a failed try waits for the next one.
	successorRetry = 15 * time.Second
	// expiryCheck is how often the session checks the expiry: the tunnel may be another one by then.
	expiryCheck = time.Minute
)

// succession lets a session continue over another tunnel.
type succession struct {
	find    func(context.Context) (*tunnel, error)            // finds or opens a tunnel to the same services; may be nil
	await   func(context.Context, *tunnel) (time.Time, error) // waits until the device is connected to it, and returns since when
	forsake func()                                            // closes tunnels whose opening was not answered; may be nil
	busy    sync.Mutex                                        // held during a search for a tunnel, and no longer; guards ready
	ready   *claim                                            // found but unused: the device was not connected
}

// get returns the tunnel that an earlier try has left, or finds one.
func (n *succession) get(ctx context.Context) (*claim, error) {
	n.busy.Lock()
	defer n.busy.Unlock()
	if n.ready == nil {
		t, err := n.find(ctx)
		if err != nil {
			return nil, err
		}
		n.ready = newClaim(t)
	}
	return n.ready, nil
}

// forget makes the next get find another tunnel than c.
func (n *succession) forget(c *claim) {
	n.busy.Lock()
	defer n.busy.Unlock()
	if n.ready == c {
		n.ready = nil
	}
}

// watchExpiry calls move when the tunnel is about to expire and movable returns true, until ctx ends. It tries again
// after an error, as long as time is left. lead maps the lifetime at the start to the time before the expiry at which
// to move.
func watchExpiry(ctx context.Context, expires func() time.Time, lead func(left time.Duration) time.Duration, movable func() bool, move func(context.Context) error) {
	var at, due time.Time
	for delay := time.Duration(0); backoff.Sleep(ctx, delay) == nil; {
		if now := expires(); !now.Equal(at) {
			at = now
			due = at.Add(-lead(time.Until(at)))
		}
		switch left := time.Until(due); {
		case at.IsZero():
			delay = expiryCheck
		case left > 0:
			delay = min(left, expiryCheck)
		case time.Now().Before(at) && movable():
			delay = successorRetry
			if move(ctx) == nil && !expires().Equal(at) {
				delay = 0
			}
		default:
			delay = successorRetry
		}
	}
}

// leadOf is successorLead, or a quarter of a shorter life.
func leadOf(left time.Duration) time.Duration { return min(successorLead, left/4) }

func (s *session) expires() time.Time { return s.tunnel().expires }

// movable reports whether there are connections, and all of them can go on over another tunnel.
func (s *session) movable() bool {
	s.mu.Lock()
	source := s.source
	s.mu.Unlock()
	open := s.resume.Stats().Detached
	if source != nil {
		for _, service := range source.Stats().Services {
			open += service.Connections
		}
	}
	return open > 0 && open <= s.resume.Resumable()
}

// moveOn moves all connections to another tunnel while the present one still works, and closes that.
func (s *session) moveOn(ctx context.Context) error {
	old := s.current.Load()
	ctx, cancel := context.WithDeadline(ctx, old.expires)
	defer cancel()
	s.cfg.notice("tunnel %s ends in %v: your session moves on to another one", old.id, time.Until(old.expires).Round(time.Second))
	next, err := s.next.get(ctx)
	var since time.Time
	if err == nil {
		since, err = s.awaitDeviceOn(ctx, next)
	}
	if s.current.Load() != old {
		return nil // it has ended early, and the session has gone on without waiting for the device
	}
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok && (e.Reason == TunnelClosed || e.Reason == TakenOver) {
			s.next.forget(next)
		}
		if ctx.Err() == nil {
			s.cfg.notice("%v; trying again", err)
		}
		return err
	}
	drop, replaced := s.replace(old, next, since, true)
	if !replaced {
		return nil
	}
	drop(proxy.ErrLeave)
	err = s.linkedBy(ctx, next)
	if s.leave(old) {
		s.closeTunnel(old)
	}
	return err
}

// awaitDeviceOn waits until the device is connected to a tunnel that the session does not use yet, and returns since when.
// It fails if the tunnel is of no use any more, or is used without the device.
func (s *session) awaitDeviceOn(ctx context.Context, next *claim) (time.Time, error) {
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-next.used:
			stop()
		case <-waiting.Done():
		}
	}()
	since, err := s.next.await(waiting, next.tunnel)
	if err == nil && s.isTaken(ctx, next) { // it looked unused for a while, and the device may have come for another operator
		err = takenError(next.id)
	}
	return since, err
}

// linkedBy waits for a websocket that c has opened. It fails if the session goes on over another tunnel.
func (s *session) linkedBy(ctx context.Context, c *claim) error {
	for {
		s.mu.Lock()
		linked, change := s.source != nil && s.on == c, s.change
		s.mu.Unlock()
		switch {
		case linked:
			return nil
		case s.current.Load() != c:
			return errLeft
		}
		select {
		case <-change:
		case <-s.done:
			return s.failure()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errLeft = errors.New("the session goes on over another tunnel")

// abandon closes the tunnels that the session holds and does not use, and those that it may have opened without knowing.
func (n *succession) abandon(s *session) {
	n.busy.Lock()
	ready := n.ready
	n.ready = nil
	n.busy.Unlock()
	s.mu.Lock()
	before := s.before
	s.before = nil
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, c := range []*claim{ready, before} {
		if c != nil {
			all.Go(func() { s.closeTunnel(c) })
		}
	}
	if n.forsake != nil {
		all.Go(func() {
			n.busy.Lock()
			defer n.busy.Unlock()
			n.forsake()
		})
	}
	all.Wait()
}

// replace makes next the session's tunnel in place of old. If old lives, the session can go back to it until it is left.
// device is when the device connected to next; zero if unknown. It returns how to end old's websocket. It does nothing if
// the session has gone on over another tunnel, or has ended.
func (s *session) replace(old, next *claim, device time.Time, lives bool) (drop func(error), replaced bool) {
	s.next.busy.Lock()
	defer s.next.busy.Unlock()
	s.mu.Lock()
	if s.next.ready != next || s.current.Load() != old {
		s.mu.Unlock()
		return nil, false
	}
	if lives {
		s.before = old
	}
	s.device, drop = device, s.drop
	s.switchTo(next)
	s.mu.Unlock()
	s.next.ready = nil
	close(next.used)
	s.cfg.Progress(Event{Kind: Reopened, Tunnel: next.id, Text: "your session goes on over tunnel " + next.id})
	return drop, true
}

// switchTo makes c the present claim. mu is held.
func (s *session) switchTo(c *claim) {
	s.current.Store(c)
	close(s.change)
	s.change = make(chan struct{})
}

// leave gives up the way back to old, and reports whether that was open: old is not used any more.
func (s *session) leave(old *claim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.before != old {
		return false
	}
	s.before = nil
	return true
}

// goOn follows the end of the present tunnel, which why tells. An error is the session's end.
func (s *session) goOn(ctx context.Context, lost *claim, why error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.goBack(lost, why) {
		return nil
	}
	return s.succeed(ctx, lost, why)
}

// goBack returns to the tunnel before lost, if lost has never let this side in: another operator may have found it unused.
func (s *session) goBack(lost *claim, why error) bool {
	s.mu.Lock()
	before := s.before
	if before == nil || lost.links.Load() > 0 || s.current.Load() != lost {
		s.mu.Unlock()
		return false
	}
	s.before, s.device = nil, time.Time{}
	s.switchTo(before)
	s.mu.Unlock()
	s.cfg.Progress(Event{Kind: Reopened, Tunnel: before.id, Text: clean.Line(fmt.Sprintf("%v: your session stays on tunnel %s", why, before.id), 0)})
	s.closeTunnel(lost)
	return true
}

// succeed looks for another tunnel if lost is over, or was another operator's from the start, and connections wait to be
// resumed. While they do, it tries again after errors that may pass. It returns why, with what stood in the way, if there
// is no other tunnel.
func (s *session) succeed(ctx context.Context, lost *claim, why error) error {
	e, ok := errors.AsType[*Error](why)
	over := ok && (e.Reason == TunnelClosed || e.Reason == TakenOver && lost.links.Load() == 0)
	if !over || s.next.find == nil || s.resume.Stats().Detached == 0 {
		return why
	}
	s.cfg.notice("%v; looking for another one, your session is kept", why)
	searches := searchPolicy()
	for tries := 0; ; tries++ {
		next, err := s.next.get(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			s.replace(lost, next, time.Time{}, false) // if it does nothing, the connections have moved on meanwhile
			return nil
		}
		delay, again := judge(&searches, err, time.Now())
		if !again || s.resume.Stats().Detached == 0 {
			return noSuccessor(e, err)
		}
		if tries == 0 {
			s.cfg.notice("no other tunnel yet (%v); trying again", operator.Explain(err))
		}
		if err := backoff.Sleep(ctx, delay); err != nil {
			return err
		}
	}
}

// noSuccessor is the end of a session whose tunnel is lost, as ended says, and that finds no other one.
func noSuccessor(ended *Error, err error) error {
	err = operator.Explain(err)
	return &Error{Reason: ended.Reason, Text: ended.Text + ", and there is no other one", Err: err, hint: cmp.Or(hint.Of(err), ended.hint)}
}
