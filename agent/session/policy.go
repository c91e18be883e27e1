package session

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/proxy"
)

// stoodLongEnough is how long a connection must have stood before the delays start over. A service that
// accepts and drops at once must see them grow.
const stoodLongEnough = 30 * time.Second

// A refusal of a pair that has worked may only mean that the service still holds the dead connection: two
// connections with one token cannot stand together (protocol guide), and the service's idle limit is
// 60 s. So the tries are slow, the last one comes more than a minute after the refusal, and all of them
// fall into the window.
const refusalWindow = 2 * time.Minute

var refusalDelays = [...]struct{ least, most time.Duration }{
	{5 * time.Second, 10 * time.Second},
	{20 * time.Second, 30 * time.Second},
	{40 * time.Second, 50 * time.Second},
}

// What a user can do about a session that ended.
const (
	adviceRotate = "rotate the tunnel's access tokens to restore it, or open a new tunnel"
	adviceOpen   = "open a new tunnel"
)

// policy decides what follows the end of a connection or of a failed handshake. It is the one place that
// holds the rules of retrying.
type policy struct {
	backoff backoff.Backoff
	random  func() float64

	worked    bool // a handshake with this pair has succeeded, now or before a restart
	refusals  int  // since the last success
	refusedAt time.Time
}

// decision is either an end with its reason or a delay before the next attempt.
type decision struct {
	end    bool
	reason string
	delay  time.Duration
}

// opened records a successful handshake.
func (p *policy) opened() {
	p.worked = true
	p.refusals = 0
}

// next judges err, which ended an attempt at now whose connection stood for stood (0: never).
func (p *policy) next(err error, stood time.Duration, now time.Time) decision {
	if stood >= stoodLongEnough {
		p.backoff.Reset()
	}
	var refused *proxy.HandshakeError
	if !errors.As(err, &refused) {
		return decision{delay: p.backoff.Next(0)}
	}
	if !final(refused.Status) {
		return decision{delay: p.backoff.Next(refused.RetryAfter)}
	}
	return p.refused(refused, now)
}

// refused applies the rule "4xx is final" (protocol guide) and its one narrow exception.
func (p *policy) refused(err *proxy.HandshakeError, now time.Time) decision {
	if !p.worked {
		return decision{end: true, reason: "the service refused the token: " + adviceRotate}
	}
	if word := finalWord(err.StatusReason + " " + err.Body); word != "" {
		advice := adviceRotate
		if word == "closed" || word == "deleted" {
			advice = "it cannot be reopened; open a new one"
		}
		return decision{end: true, reason: "the service says " + word + ": " + advice}
	}
	if p.refusals == 0 {
		p.refusedAt = now
	}
	gone := decision{end: true, reason: "the service keeps refusing tokens that have worked: " + adviceRotate}
	if p.refusals >= len(refusalDelays) {
		return gone
	}
	bounds := refusalDelays[p.refusals]
	p.refusals++
	draw := p.random
	if draw == nil {
		draw = rand.Float64
	}
	delay := bounds.least + time.Duration(draw()*float64(bounds.most-bounds.least))
	delay = max(delay, err.RetryAfter)
	if now.Add(delay).Sub(p.refusedAt) > refusalWindow {
		return gone
	}
	return decision{delay: delay}
}

// final tells whether a handshake's status ends a token: all of 4xx (protocol guide), but for 429, which
// is about the moment and not about the token.
func final(status int) bool { return status >= 400 && status <= 499 && status != 429 }

// finalWords are those of a refusal that no waiting can change.
var finalWords = map[string]bool{"closed": true, "revoked": true, "rotated": true, "expired": true, "used": true, "deleted": true}

// finalWord returns the first word of text that tells of an end, or "".
func finalWord(text string) string {
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) }) {
		if finalWords[word] {
			return word
		}
	}
	return ""
}
