package connect

import (
	"context"
	"errors"
	"time"

	"github.com/culvert-iot/culvert/proxy"
)

// recordConnectedAt asks when the service saw this side connect, to distinguish it later from another source. A failure
// does no harm.
func (s *session) recordConnectedAt(ctx context.Context, source *proxy.Source) {
	d, err := s.cfg.describe(ctx, s.tunnel().id)
	if err != nil {
		return
	}
	select {
	case <-source.Done(): // the answer may be about another websocket
		return
	default:
	}
	if at, connected := changed(d.SourceConnectionState); connected {
		s.mu.Lock()
		s.connectedAt, s.recorded = at, s.redials
		s.mu.Unlock()
	}
}

// isOthers reports whether the tunnel's source connection is another operator's, who came while this side's
// link was down or seemed to stand.
func (s *session) isOthers(ctx context.Context) bool {
	if e, ok := errors.AsType[*Error](s.failure()); ok && e.Reason == TakenOver {
		return true
	}
	s.mu.Lock()
	mine, known := s.connectedAt, s.recorded > 0 && s.recorded == s.redials
	s.mu.Unlock()
	if !known { // it never connected, or just did
		return false
	}
	d, err := s.cfg.describe(ctx, s.tunnel().id)
	if err != nil {
		return false
	}
	at, connected := changed(d.SourceConnectionState)
	return connected && at.After(mine)
}

// confirmOwnership returns the session's source once a tunnel that was found has been this side's for about as long as it
// took from the look to the connection, and as much again. An operator who looked before this side was connected may still
// rotate the tokens, which ends the connection, and then leaves the tunnel alone (see [finder.taken]): the session comes
// back, before there is a connection that this could break.
func (s *session) confirmOwnership(ctx context.Context, source *proxy.Source) (*proxy.Source, error) {
	if s.tunnel().opened || s.cfg.TakeOver {
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
