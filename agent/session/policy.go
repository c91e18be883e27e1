package session

import (
	"errors"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/retry"
	"github.com/culvert-iot/culvert/proxy"
)

// What a user can do about a session that ended.
const (
	adviceRotate = "rotate the tunnel's access tokens to restore it, or open a new tunnel"
	adviceOpen   = "open a new tunnel"
)

// policy puts the retry rule's decisions into words.
type policy struct{ retry.Policy }

// decision is either an end or a delay before the next attempt.
type decision struct {
	end   error // nil: the session goes on
	delay time.Duration
}

func ends(reason, advice string) decision { return decision{end: hint.New(reason, advice)} }

// next judges err, which ended an attempt at now whose connection stood for stood (0: never).
func (p *policy) next(err error, stood time.Duration, now time.Time) decision {
	var refused *proxy.HandshakeError
	if !errors.As(err, &refused) {
		return decision{delay: p.Failed(stood)}
	}
	d := p.Refused(retry.Refusal{
		Status: refused.Status, StatusReason: refused.StatusReason, Body: refused.Body,
		ChannelID: refused.ChannelID, RetryAfter: refused.RetryAfter,
	}, now)
	switch {
	case d.End == retry.None:
		return decision{delay: d.Delay}
	case d.End == retry.Refused:
		return ends("the service refused the token", adviceRotate)
	case d.Word == "closed", d.Word == "deleted":
		return ends("the service says "+d.Word+": it cannot be reopened", adviceOpen)
	case d.Word != "":
		return ends("the service says "+d.Word, adviceRotate)
	}
	return ends("the service keeps refusing tokens that have worked", adviceRotate)
}
