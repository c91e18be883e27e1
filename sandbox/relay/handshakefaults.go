package relay

import (
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

// Refusal is the answer to the next Count handshakes of a target. Their tokens stay as they are.
type Refusal struct {
	Count      int
	Status     int               // 0 means 503
	Header     map[string]string // such as X-Status-Reason
	Body       string
	RetryAfter string // the header Retry-After: seconds or an HTTP date; "" sends none
}

type handshakeFault struct {
	Target
	Refusal
	ending      Ending
	subprotocol string
}

// Refuse refuses the next handshakes of t, as many as r says.
func (f *Faults) Refuse(t Target, r Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals = append(f.refusals, &handshakeFault{Target: t, Refusal: r})
}

// Limit admits a number of handshakes a second, of all targets together, and answers 429 to the others; 0 admits all.
func (f *Faults) Limit(perSecond int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.perSecond = max(0, perSecond)
}

// LoseAnswers admits the next n handshakes of t and cuts the connection instead of answering: the token is
// bound, and the peer does not know it.
func (f *Faults) LoseAnswers(t Target, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = append(f.lost, &handshakeFault{Target: t, Refusal: Refusal{Count: n}})
}

// Misname answers the next n handshakes of t with a subprotocol of this name, which the peer has not offered.
func (f *Faults) Misname(t Target, n int, subprotocol string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.misnamed = append(f.misnamed, &handshakeFault{Target: t, Refusal: Refusal{Count: n}, subprotocol: subprotocol})
}

// EndEarly ends the next n connections of t right after their handshake, before SERVICE_IDS.
func (f *Faults) EndEarly(t Target, n int, e Ending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.early = append(f.early, &handshakeFault{Target: t, Refusal: Refusal{Count: n}, ending: e})
}

// pick takes one from the first pending fault that covers t.
func (f *Faults) pick(list *[]*handshakeFault, t Target) (handshakeFault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, h := range *list {
		if h.covers(t) {
			if h.Count--; h.Count <= 0 {
				*list = slices.Delete(*list, i, i+1)
			}
			return *h, true
		}
	}
	return handshakeFault{}, false
}

// handshake plays the faults of a handshake before the relay decides on it. It returns false if it has answered.
func (f *Faults) handshake(w http.ResponseWriter, req *http.Request, t Target) bool {
	f.mu.Lock()
	c := f.apply(t, nil)
	f.mu.Unlock()
	stopped := func(wait <-chan time.Time) bool {
		select {
		case <-wait:
		case <-c.changed:
		case <-req.Context().Done():
			return true
		case <-f.relay.closing:
			refuse(w, http.StatusServiceUnavailable, "", "The service is going away.")
			return true
		}
		return false
	}
	for c.hole {
		if stopped(nil) {
			return false
		}
		f.mu.Lock()
		c = f.apply(t, nil)
		f.mu.Unlock()
	}
	if c.slow > 0 && stopped(time.After(c.slow)) {
		return false
	}
	f.mu.Lock()
	perSecond := f.perSecond
	f.mu.Unlock()
	if f.handshakes.Over(perSecond, time.Now()) {
		refuse(w, http.StatusTooManyRequests, "", "Rate exceeded")
		return false
	}
	h, found := f.pick(&f.refusals, t)
	if !found {
		return true
	}
	for k, v := range h.Header {
		w.Header().Set(k, v)
	}
	if h.RetryAfter != "" {
		w.Header().Set("Retry-After", h.RetryAfter)
	}
	if h.Status == 0 {
		h.Status = http.StatusServiceUnavailable
	}
	refuse(w, h.Status, "", h.Body)
	return false
}

// upgraderFor returns the upgrader that answers a handshake.
func (f *Faults) upgraderFor(t Target, header http.Header) *websocket.Upgrader {
	h, found := f.pick(&f.misnamed, t)
	if !found {
		return &f.relay.upgrader
	}
	u := f.relay.upgrader
	u.Subprotocols = nil
	header.Set("Sec-Websocket-Protocol", h.subprotocol)
	return &u
}

// loseAnswer cuts an admitted handshake, if it is to be lost.
func (f *Faults) loseAnswer(w http.ResponseWriter, t Target) bool {
	if _, found := f.pick(&f.lost, t); !found {
		return false
	}
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = raw(c).Close()
	}
	return true
}
