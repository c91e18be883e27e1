package notify

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

const (
	// answerSpacing is the least time between two answers. AWS IoT takes one retained message a second for a topic.
	answerSpacing = 2 * time.Second

	// maxAsked bounds the pings that one answer is for.
	maxAsked = 4

	// answerDenied: a connection that ends so soon after an answer was probably ended because of it, as AWS IoT does
	// when the policy does not allow the PUBLISH.
	answerDenied = 5 * time.Second

	// maxPing and maxMark bound what is read of a ping, in bytes.
	maxPing, maxMark = 256, 64
)

// pongTopic is where answers to pings go: culvert/THING/pong.
func (c *Client) pongTopic() string { return "culvert/" + c.cfg.ThingName + "/pong" }

// pingMark returns the mark of a ping that wants an answer, by which the sender knows the answer again; "" for any other.
func pingMark(payload []byte) string {
	var ping struct {
		Answer string `json:"answer"`
	}
	if len(payload) > maxPing || json.Unmarshal(payload, &ping) != nil || len(ping.Answer) > maxMark {
		return ""
	}
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if strings.Trim(ping.Answer, allowed) != "" {
		return ""
	}
	return ping.Answer
}

// answers are the pings to answer, and how that went. One goroutine uses it.
type answers struct {
	asked   []string  // marks that wait, and those of the last answer, oldest first
	last    time.Time // of the last answer; zero: none yet
	session int       // answers on the connection that stands
	lostTo  int       // connections in a row that ended after their first answer
}

// begin is called when a connection stands.
func (a *answers) begin() { a.session = 0 }

// ask adds a ping and returns how long its answer has to wait. It reports false if pings are not answered any more.
func (a *answers) ask(mark string, now time.Time) (wait time.Duration, ok bool) {
	if a.lostTo > 1 {
		return 0, false
	}
	a.asked = append(a.asked, mark)
	if over := len(a.asked) - maxAsked; over > 0 {
		a.asked = slices.Delete(a.asked, 0, over)
	}
	if a.last.IsZero() {
		return 0, true
	}
	return max(0, answerSpacing-now.Sub(a.last)), true
}

// take returns the marks for the answer that is published now. They stay for the next one, which replaces this one,
// perhaps before all who asked have read it.
func (a *answers) take(now time.Time) []string {
	if a.session++; a.session > 1 {
		a.lostTo = 0 // the answer before did no harm
	}
	a.last = now
	return slices.Clone(a.asked)
}

// lost is called with the end of a connection. It reports true once, when answers have ended two connections in a row:
// more would keep the device from being reached.
func (a *answers) lost(e end) bool {
	if e.stage != stageUp || a.session == 0 {
		return false
	}
	if a.session > 1 || time.Since(a.last) > answerDenied {
		a.lostTo = 0
		return false
	}
	a.lostTo++
	return a.lostTo == 2
}
