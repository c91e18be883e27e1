package retry

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/culvert-iot/culvert/internal/backoff"
)

// stoodLongEnough is how long a connection must have stood before the delays start over. A service that
// accepts and drops at once must see them grow.
const stoodLongEnough = 30 * time.Second

// stoodWhileAwaited is stoodLongEnough while applications wait for the next connection: those that go on after each loss
// show that the service does more than accept and drop.
const stoodWhileAwaited = time.Second

// A refused pair that has worked may only mean that the service still holds the dead connection: two
// connections with one token cannot stand together (V3 protocol guide), and the service's idle limit is
// 60 s. So the tries are slow, the last one comes more than a minute after the first refusal, and all
// fall into the window.
const refusalWindow = 2 * time.Minute

var refusalDelays = [...]struct{ least, most time.Duration }{
	{5 * time.Second, 10 * time.Second},
	{20 * time.Second, 30 * time.Second},
	{40 * time.Second, 50 * time.Second},
}

// A service that answers 429 works, and serves as many clients a second as it allows. Long waits do not help it: a wait
// of a minute at the end of the rush leaves it idle while clients wait. So the bound of the delays is a tenth of the
// time since the first 429. The last client is then a tenth late, however long the rush, and clients ask less often the
// longer it lasts. The bound begins at leastThrottled, below which a large fleet asks too often in the first minute. It
// ends at mostThrottled, or at a smaller bound of the back-off: with the default bound of a minute, a fleet of
// 100,000 would ask twice as often in all. test/night shows the effect.
const (
	leastThrottled = 15 * time.Second
	mostThrottled  = 5 * time.Minute
	throttledPart  = 10
)

// Refusal is an answer to a handshake that opened no websocket.
type Refusal struct {
	Status       int    // of HTTP
	StatusReason string // the service's X-Status-Reason header
	Body         string // its beginning is enough
	ChannelID    string // only the service sends one
	RetryAfter   time.Duration
}

// Temporary reports whether the refusal is about the moment or the path, not about the token: it may
// pass without a new token.
//
// By the V3 protocol guide a 4xx is final. The exceptions are statuses that the service cannot mean
// for a token, and pages that a middlebox on the path has made up in its name.
func (r Refusal) Temporary() bool {
	if r.Status < 400 || r.Status > 499 {
		return true
	}
	switch r.Status {
	case http.StatusProxyAuthRequired, // a proxy on the path
		http.StatusRequestTimeout,
		http.StatusMisdirectedRequest, // a connection that leads to the wrong server
		http.StatusTooEarly,
		http.StatusUpgradeRequired, // a proxy has removed the request's Upgrade header
		http.StatusTooManyRequests,
		http.StatusUnavailableForLegalReasons: // a filter on the path
		return true
	}
	return r.foreign()
}

// foreign reports whether another server answered in the service's place, such as an inspecting proxy:
// its page is for people. The service sends plain text, and names the attempt in its header.
func (r Refusal) foreign() bool {
	if r.StatusReason != "" || r.ChannelID != "" {
		return false
	}
	page := strings.ToLower(strings.TrimLeft(r.Body, " \t\r\n\ufeff"))
	for _, start := range []string{"<!doctype", "<html", "<head", "<body", "<?xml", "<!--"} {
		if strings.HasPrefix(page, start) {
			return true
		}
	}
	return false
}

// End says why a token has no further attempt.
type End int

// What a refusal can mean.
const (
	None         End = iota // not the end: try again after [Decision.Delay]
	Refused                 // the token has never worked, and will not
	Revoked                 // the token was revoked, rotated away or used by another client
	TunnelOver              // the tunnel was closed, deleted or has expired
	StillRefused            // a token that has worked was refused for two minutes
)

// Decision is what follows a refusal.
type Decision struct {
	End   End
	Word  string        // the service's own word for the end, such as "closed"; may be empty
	Delay time.Duration // before the next attempt, if this is not the end
}

// Policy decides what follows the ends of the attempts with one pair of tokens. The zero value is a new
// pair. It is not safe for concurrent use.
type Policy struct {
	Backoff backoff.Backoff
	// Worked says that a handshake with the pair has succeeded, now or in an earlier process.
	Worked bool
	// ClosedByService says that the service itself closed the latest websocket: it holds no dead
	// connection of this pair, so a refusal is not tried again. The owner sets it, or leaves it unused.
	ClosedByService bool
	// Awaited says that applications wait for the next connection, to go on: the first attempt after a loss comes sooner.
	// The owner sets it, or leaves it unused.
	Awaited bool

	refusals  int // since the last success
	refusedAt time.Time

	throttledAt time.Time // of the first 429 in a row; zero: the latest answer was no 429
}

// Opened records a successful handshake.
func (p *Policy) Opened() {
	p.Worked = true
	p.refusals = 0
	p.throttledAt = time.Time{}
}

// Failed returns the delay after an attempt that ended without a refusal. Its connection stood for
// stood, or never if 0.
func (p *Policy) Failed(stood time.Duration) time.Duration {
	p.throttledAt = time.Time{}
	enough := stoodLongEnough
	if p.Awaited {
		enough = stoodWhileAwaited
	}
	if stood < enough {
		return p.Backoff.Next(0)
	}
	p.Backoff.Reset()
	delay := p.Backoff.Next(0)
	if p.Awaited {
		delay /= 2
	}
	return delay
}

// Refused judges a refusal that came at now.
func (p *Policy) Refused(r Refusal, now time.Time) Decision {
	if r.Status == http.StatusTooManyRequests {
		return Decision{Delay: p.throttled(r.RetryAfter, now)}
	}
	p.throttledAt = time.Time{}
	if r.Temporary() {
		return Decision{Delay: p.Backoff.Next(r.RetryAfter)}
	}
	if !p.Worked {
		return Decision{End: Refused}
	}
	text := r.StatusReason + " " + r.Body
	if end, word := finalWord(text); end != None {
		return Decision{End: end, Word: word}
	}
	if p.ClosedByService {
		if strings.TrimSpace(text) == "" { // it closed the websocket, and has nothing to add
			return Decision{End: TunnelOver}
		}
		return Decision{End: StillRefused}
	}
	return p.tryAgain(r, now)
}

// throttled returns the delay after a 429.
func (p *Policy) throttled(floor time.Duration, now time.Time) time.Duration {
	if p.throttledAt.IsZero() {
		p.throttledAt = now
	}
	most := max(leastThrottled, now.Sub(p.throttledAt)/throttledPart)
	return p.Backoff.NextWithin(min(most, mostThrottled), floor)
}

// tryAgain gives a pair that has worked its slow tries.
func (p *Policy) tryAgain(r Refusal, now time.Time) Decision {
	if p.refusals == 0 {
		p.refusedAt = now
	}
	if p.refusals >= len(refusalDelays) {
		return Decision{End: StillRefused}
	}
	bounds := refusalDelays[p.refusals]
	p.refusals++
	draw := p.Backoff.Random
	if draw == nil {
		draw = rand.Float64
	}
	delay := bounds.least + time.Duration(draw()*float64(bounds.most-bounds.least))
	delay = max(delay, r.RetryAfter)
	if now.Add(delay).Sub(p.refusedAt) > refusalWindow {
		return Decision{End: StillRefused}
	}
	return Decision{Delay: delay}
}

// finalWords are those of a refusal that no waiting can change.
var finalWords = map[string]End{
	"closed": TunnelOver, "expired": TunnelOver, "deleted": TunnelOver,
	"revoked": Revoked, "rotated": Revoked, "used": Revoked,
}

// finalWord finds the first word of text that names an end.
func finalWord(text string) (End, string) {
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) }) {
		if end := finalWords[word]; end != None {
			return end, word
		}
	}
	return None, ""
}
