package connect

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/secret"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
)

// claim is this side's hold on one tunnel: the pair of tokens to connect with, and what tells its own connection from
// another operator's.
type claim struct {
	*tunnel

	token, client secret.Value  // of the session's goroutine alone, once the claim is the present one
	used          chan struct{} // closed when it becomes the present one, unless it was so from the start

	// links counts the websockets that the service has let in, if only for a moment: an operator who rotates the tokens
	// after that sees it, and leaves the tunnel alone (see [finder.taken]).
	links atomic.Int32

	// Guarded by the session's lock.
	connectedAt time.Time // when the service last saw this side connect, by its own clock
	recorded    int32     // the admission that connectedAt is of: see admissions; 0 is none
	unseen      unseen
	dispute     dispute
	taken       bool // another operator has it, as a refusal has shown
	contested   bool // it is the first, was found, and other operators may have, too: until [session.confirmOwnership]
}

func newClaim(t *tunnel) *claim {
	return &claim{tunnel: t, token: t.token, client: secret.NewClientToken(), used: make(chan struct{}), connectedAt: t.sourceBefore}
}

// unseen is about handshakes whose request was sent, or part of it, and whose answer did not come: the service may have let
// this side in.
type unseen struct {
	count int32
	asked time.Time // the first one's request was sent
	links int32     // as they were at the last one
	ended time.Time // the last one, by the wall clock: the other one stands still while a laptop sleeps
}

// admissions counts how often the service has let this side in, or may have. If connectedAt is not of the last one, the
// newest source connection may be this side's, whatever its time. The caller has the session's lock.
func (c *claim) admissions() int32 { return c.links.Load() + c.unseen.count }

// unseenLast reports whether this side's last admission is one that it did not see. The caller has the session's lock.
func (c *claim) unseenLast() bool { return c.unseen.count > 0 && c.unseen.links == c.links.Load() }

// isDisputed reports whether the service has refused this side since its last admission, for a connection that may be that
// very admission's or another operator's. The caller has the session's lock.
func (c *claim) isDisputed() bool { return c.dispute.of > 0 && c.dispute.of == c.admissions() }

// dispute is about a source connection that is either another operator's, or this side's last one, whose time the control
// API did not tell and whose loss the service has not noticed.
type dispute struct {
	of    int32     // this side's last admission
	at    time.Time // when the connection was made, by the service's clock
	began time.Time
}

// unnoticed is how long the service may take to notice that a websocket is lost. Its idle limit is a minute.
const unnoticed = 75 * time.Second

// owner says whose a source connection is.
type owner int

const (
	ours owner = iota
	others
	unclear
)

// owner tells whose the source connection is that was made at a time of the service's clock, while this side has none.
func (s *session) owner(c *claim, at time.Time) owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, now := c.admissions(), time.Now()
	switch d := c.dispute; {
	case !at.After(c.connectedAt):
		return ours
	case c.recorded == last, c.contested: // the one who came last keeps it, and there is nothing here to lose
		return others
	case d.of != last:
		c.dispute = dispute{last, at, now}
		return unclear
	case !at.Equal(d.at), now.Sub(d.began) > unnoticed: // this side has not connected since
		return others
	}
	return unclear
}

// recordConnectedAt asks when the service saw this side connect, to distinguish it later from another source. It asks until
// there is an answer, or the websocket ends.
func (s *session) recordConnectedAt(ctx context.Context, c *claim, source *proxy.Source) {
	for delays := (backoff.Backoff{Min: time.Second}); ; {
		d, err := s.cfg.describe(ctx, c.id)
		select {
		case <-source.Done(): // the answer may be about another websocket
			return
		default:
		}
		if err == nil {
			if at, connected := changed(d.SourceConnectionState); connected {
				s.mu.Lock()
				c.connectedAt, c.recorded = at, c.admissions()
				s.mu.Unlock()
			}
			return
		}
		if isDenied(err) || isGone(err) || delays.Wait(ctx, 0) != nil {
			return
		}
	}
}

// noteUnseen records a handshake whose request was sent at a time, and whose answer did not come.
func (s *session) noteUnseen(c *claim, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.unseen.count > 0 {
		asked = c.unseen.asked
	}
	c.unseen = unseen{count: c.unseen.count + 1, asked: asked, links: c.links.Load(), ended: time.Now().Round(0)}
}

// admitTime is how long after the request the service may have let a handshake in whose answer was lost. No other
// operator finds the tunnel unused and connects to it in that time.
const admitTime = 5 * time.Second

// isFirst reports whether the source connection that d shows is this side's first handshake, whose answer was lost: it came
// so soon after the opening that it cannot be another operator's. The two clocks are not compared, only the tunnel's age by
// each of them.
func (s *session) isFirst(c *claim, d *types.Tunnel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, connected := changed(d.SourceConnectionState)
	if !connected || d.CreatedAt == nil || c.made.IsZero() || c.links.Load() > 0 || c.unseen.count == 0 {
		return false
	}
	return at.Sub(*d.CreatedAt) < min(c.unseen.asked.Sub(c.made)+admitTime, setupGrace)
}

// isOthers reports whether the present tunnel's source connection is another operator's, who came while this side's
// link was down or seemed to stand.
func (s *session) isOthers(ctx context.Context) bool {
	if e, ok := errors.AsType[*Error](s.failure()); ok && e.Reason == TakenOver {
		return true
	}
	return s.isToBeLeft(ctx, s.current.Load())
}

// isToBeLeft reports whether another operator has connected to a tunnel that is to be closed, or may have. If that is not
// known, it returns false. This side has no websocket to the tunnel, nor will have one.
//
// The newest connection may be one that this side made and never saw, or of an operator who came before this side's last
// handshake. The tokens tell: no other operator gets in without new ones, which make this side's void.
func (s *session) isToBeLeft(ctx context.Context, c *claim) bool {
	d, err := s.cfg.describe(ctx, c.id)
	if err != nil {
		return false
	}
	if s.isLostIn(c, d) {
		return true
	}
	s.mu.Lock()
	at, connected := changed(d.SourceConnectionState)
	ask := connected && at.After(c.connectedAt) && c.unseenLast()
	s.mu.Unlock()
	return ask && !s.isFirst(c, d) && s.isRefused(ctx, c)
}

// askTime bounds the handshake that asks whether this side's tokens are still good. The rest of closeTimeout is for the call
// that closes the tunnel.
const askTime = 2 * time.Second

// isRefused asks whether the service refuses this side's tokens by now. Without an answer, it returns false.
func (s *session) isRefused(ctx context.Context, c *claim) bool {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	source := proxy.NewSource(proxy.SourceConfig{
		Connection: s.connection(c), Form: proxy.V3, Logger: s.cfg.Logger, OnOpen: func(string, string) { cancel() },
	})
	return isRefusal(source.Run(ctx))
}

// isTaken asks whether another operator has connected to a tunnel. If that is not known, it returns false.
func (s *session) isTaken(ctx context.Context, c *claim) bool {
	d, err := s.cfg.describe(ctx, c.id)
	return err == nil && s.isLostIn(c, d)
}

// isLostIn reports whether d shows another operator as the source of c's tunnel, or as the latest one, if this side never
// was. If that is not known, it returns false.
//
// It is not known after an admission whose time the service did not tell, above all after a handshake whose answer was lost:
// the newest connection is this side's own then, unless there is more to it. Only two things show that it may be another
// operator's, whose session must not be ended: the service has refused this side's tokens since, which another operator's
// rotation explains as well as this side's own connection does; or the connection has outlived what this side can have left.
func (s *session) isLostIn(c *claim, d *types.Tunnel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, connected := changed(d.SourceConnectionState)
	switch {
	case c.taken:
		return true
	case c.recorded == c.admissions():
		if c.recorded == 0 && !connected { // one who has come and lost the link will be back
			return at.After(c.connectedAt) && at.After(aws.ToTime(d.CreatedAt))
		}
		return connected && at.After(c.connectedAt)
	case !connected || !at.After(c.connectedAt):
		return false
	case c.isDisputed():
		return true
	}
	return c.unseenLast() && time.Since(c.unseen.ended) > unnoticed
}

// closeTunnel closes a tunnel that was opened here and is not used any more, unless it is another operator's by now.
func (s *session) closeTunnel(c *claim) {
	if !c.opened {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.isToBeLeft(ctx, c) {
		s.tellLeft(c)
		return
	}
	if _, err := s.cfg.API.CloseTunnel(ctx, &iot.CloseTunnelInput{TunnelId: aws.String(c.id)}); err != nil && !isGone(err) {
		s.cfg.Logger.Warn("tunnel cannot be closed", "tunnel", c.id, "error", err)
	}
}

// tellLeft says that a tunnel is left open, if it may yet be this side's alone.
func (s *session) tellLeft(c *claim) {
	s.mu.Lock()
	unclear := !c.taken && c.recorded != c.admissions()
	s.mu.Unlock()
	if unclear {
		s.cfg.notice("tunnel %s is left open, since another operator may be using it; culvert list-tunnels shows it", c.id)
	}
}

// lose records that another operator has c's tunnel, and returns the error that says so.
func (s *session) lose(c *claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.taken = true
	return takenError(c.id)
}

// errUnclear is what renew returns while the source connection may be this side's last one: the same token is to be tried again.
var errUnclear = errors.New("the service holds a link that may be this side's last one")

// renew gets a new token for this side after a refusal. Without an error, c may be tried again: with the new token, or
// with the same one if there is none yet. An error but errUnclear is the end of c.
func (s *session) renew(ctx context.Context, c *claim, refused *proxy.HandshakeError) error {
	if c.links.Load() == 0 && !c.opened && !c.takeOver {
		return s.lose(c) // another operator found it, too, and rotated its tokens later
	}
	d, err := s.cfg.describe(ctx, c.id)
	switch {
	case isGone(err), err == nil && d.Status != types.TunnelStatusOpen:
		return closedError(c.id)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && isDenied(err):
		return err
	case err != nil:
		s.cfg.Logger.Warn("tunnel cannot be described", "error", err)
		return nil
	}
	at, connected := changed(d.SourceConnectionState)
	if connected && !s.isFirst(c, d) {
		switch s.owner(c, at) {
		case others:
			return s.lose(c)
		case unclear: // a rotation might take the tunnel from another operator
			s.cfg.Logger.Info("source refused: the service has not noticed the end of the last link, or another operator has the tunnel", "tunnel", c.id)
			return errUnclear
		case ours:
		}
	}
	s.cfg.Logger.Info("source refused", "error", refused)
	s.cfg.step("rotating the source's token of tunnel %s", c.id)
	out, err := s.cfg.API.RotateTunnelAccessToken(ctx, &iot.RotateTunnelAccessTokenInput{TunnelId: aws.String(c.id), ClientMode: types.ClientModeSource})
	switch {
	case isGone(err):
		return closedError(c.id)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && isDenied(err):
		return fmt.Errorf("the source's token was refused (%w) and cannot be rotated: %w", refused, err)
	case err != nil:
		s.cfg.Logger.Warn("token cannot be rotated", "error", err)
		return nil
	}
	if d, err := s.cfg.describe(ctx, c.id); err == nil { // another operator may have come in between
		if now, connected := changed(d.SourceConnectionState); connected && now.After(at) {
			return s.lose(c)
		}
	}
	if token := aws.ToString(out.SourceAccessToken); token != "" {
		c.token, c.client = secret.New(token), secret.NewClientToken()
	}
	return nil
}

// confirmOwnership returns the session's source once a tunnel that was found has been this side's for about as long as it
// took from the look to the connection, and as much again. An operator who looked before this side was connected may still
// rotate the tokens, which ends the connection, and then leaves the tunnel alone (see [finder.taken]): the session comes
// back, before there is a connection that this could break.
func (s *session) confirmOwnership(ctx context.Context, source *proxy.Source) (*proxy.Source, error) {
	if t := s.tunnel(); t.opened || t.takeOver {
		return source, nil
	}
	for {
		s.mu.Lock()
		since := s.since
		s.mu.Unlock()
		timer := time.NewTimer(time.Until(since.Add(min(max(2*since.Sub(s.tunnel().looked), minDispute), maxDispute))))
		defer timer.Stop()
		select {
		case <-timer.C:
			s.mu.Lock()
			s.current.Load().contested = false
			s.mu.Unlock()
			return source, nil
		case <-source.Done():
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		var err error
		if source, err = s.readyAfter(ctx, source); err != nil {
			return nil, err
		}
	}
}
