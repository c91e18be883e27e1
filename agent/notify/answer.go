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

	// maxAsked bounds the pings that one answer covers.
	maxAsked = 4

	// answerDenied bounds how soon after an answer a connection ends if AWS IoT ended it because of the answer, which
	// it does when the policy does not allow the PUBLISH.
	answerDenied = 5 * time.Second

	// maxPing and maxMark bound the bytes that are read of a ping.
	maxPing, maxMark = 256, 64
)

// pongTopic is the topic of answers to pings: culvert/THING/pong.
func (c *Client) pongTopic() string { return "culvert/" + c.cfg.ThingName + "/pong" }

// pingMark returns the mark of a ping that wants an answer; "" for any other. The sender recognizes the answer by the
// mark.
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

// answers holds the pings to answer, and how earlier answers went. One goroutine uses it.
type answers struct {
	asked   []string  // waiting marks, and those of the last answer, oldest first
	last    time.Time // of the last answer; zero: none yet
	session int       // answers on the current connection
	lostTo  int       // connections in a row that ended after their first answer
}

// begin is called when a connection is up.
func (a *answers) begin() { a.session = 0 }

// ask adds a ping and returns how long its answer has to wait. It reports false if the client no longer answers pings.
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

// take returns the marks for the answer that the client publishes now. They stay for the next one, which replaces this
// one, perhaps before every operator has read it.
func (a *answers) take(now time.Time) []string {
	if a.session++; a.session > 1 {
		a.lostTo = 0 // the previous answer did no harm
	}
	a.last = now
	return slices.Clone(a.asked)
}

// cost reports whether a connection ended right after its only answer.
func (a *answers) cost(e end) bool {
	return e.stage == stageUp && a.session == 1 && time.Since(a.last) <= answerDenied
}

// lost is called with the end of a connection. It reports true once, when answers have ended two connections in a row:
// more would keep operators from reaching the device.
func (a *answers) lost(e end) bool {
	if e.stage != stageUp || a.session == 0 {
		return false
	}
	if !a.cost(e) {
		a.lostTo = 0
		return false
	}
	a.lostTo++
	return a.lostTo == 2
}
