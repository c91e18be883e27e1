package connect

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/secret"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
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
	find  func(context.Context) (*tunnel, error)            // finds or opens a tunnel to the same services; may be nil
	await func(context.Context, *tunnel) (time.Time, error) // waits until the device is connected to it, and returns since when
	busy  sync.Mutex                                        // held during a search for a tunnel; guards ready
	ready *tunnel                                           // found but unused: the device was not connected
}

// get returns the tunnel that an earlier try has left, or finds one.
func (n *succession) get(ctx context.Context) (*tunnel, error) {
	if n.ready == nil {
		t, err := n.find(ctx)
		if err != nil {
			return nil, err
		}
		n.ready = t
	}
	return n.ready, nil
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
	s.next.busy.Lock()
	defer s.next.busy.Unlock()
	old := s.tunnel()
	ctx, cancel := context.WithDeadline(ctx, old.expires)
	defer cancel()
	s.cfg.notice("tunnel %s ends in %v: your session moves on to another one", old.id, time.Until(old.expires).Round(time.Second))
	next, err := s.next.get(ctx)
	var since time.Time
	if err == nil {
		since, err = s.next.await(ctx, next)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.cfg.notice("%v; trying again", err)
		}
		return err
	}
	s.replace(next, since)
	s.mu.Lock()
	source, drop := s.source, s.drop
	s.mu.Unlock()
	drop(proxy.ErrLeave)
	if _, err := s.readyAfter(ctx, source); err == nil {
		s.closeTunnel(old)
	}
	return nil
}

// abandon closes a successor that the session did not need.
func (n *succession) abandon(s *session) {
	n.busy.Lock()
	defer n.busy.Unlock()
	if n.ready != nil {
		s.closeTunnel(n.ready)
	}
}

// closeTunnel closes a tunnel that was opened here and is not used any more.
func (s *session) closeTunnel(t *tunnel) {
	if !t.opened {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if _, err := s.cfg.API.CloseTunnel(ctx, &iot.CloseTunnelInput{TunnelId: aws.String(t.id)}); err != nil && !isGone(err) {
		s.cfg.Logger.Warn("tunnel cannot be closed", "tunnel", t.id, "error", err)
	}
}

// replace makes next the session's tunnel. device is when the device connected to it; zero if unknown.
func (s *session) replace(next *tunnel, device time.Time) {
	s.mu.Lock()
	s.connectedAt, s.recorded, s.device = next.sourceBefore, 0, device
	s.mu.Unlock()
	s.current.Store(next)
	s.next.ready = nil
	s.cfg.Progress(Event{Kind: Reopened, Tunnel: next.id, Text: "your session goes on over tunnel " + next.id})
}

// succeed looks for another tunnel if this one is over and connections wait to be resumed. It returns that tunnel's
// token, or else its arguments, the result of renew.
func (s *session) succeed(ctx context.Context, fresh secret.Value, err error) (secret.Value, error) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Reason != TunnelClosed || s.next.find == nil || s.resume.Stats().Detached == 0 {
		return fresh, err
	}
	over := s.tunnel()
	s.next.busy.Lock()
	defer s.next.busy.Unlock()
	if t := s.tunnel(); t != over {
		return t.token, nil
	}
	s.cfg.notice("%v; looking for another one, your session is kept", err)
	next, failed := s.next.get(ctx)
	if failed != nil {
		s.cfg.Logger.Warn("no other tunnel", "error", failed)
		return fresh, err
	}
	s.replace(next, time.Time{})
	return next.token, nil
}
