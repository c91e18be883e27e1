package notify

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
)

// reporter writes about the connection so that a week without network leaves a few lines, not thousands:
// an error that repeats is a warning once and then only a debug line. One goroutine uses it.
type reporter struct {
	logger *slog.Logger
	last   string // the last failure's text without digits; "" after a session that stood
	same   int    // how often it was reported in a row
	flaps  bool   // it ended sessions that were up
}

func (r *reporter) failed(f *failureError, e end, attempts int, delay time.Duration) {
	delay = delay.Round(time.Millisecond)
	text := hint.Line(f)
	if e.stage == stageUp && e.after >= takeoverStood {
		// Long-lived sessions end; AWS promises no more than one to two weeks.
		r.last, r.same, r.flaps = "", 0, false
		r.logger.Info("mqtt connection ended, reconnecting", "reason", text, "delay", delay)
		return
	}
	// Port numbers and times in it differ from one attempt to the next.
	key := strings.Map(func(c rune) rune {
		if '0' <= c && c <= '9' {
			return -1
		}
		return c
	}, text)
	flaps := e.stage == stageUp
	if key == r.last && flaps == r.flaps {
		r.same++
		r.logger.Debug("mqtt connection failed again", "error", text, "attempt", r.same, "delay", delay)
		return
	}
	r.last, r.same, r.flaps = key, 1, flaps
	if e.stage == stageUp {
		r.logger.Warn("mqtt connection lost, reconnecting", "error", text, "delay", delay)
		return
	}
	r.logger.Warn("mqtt connection failed, trying again", "error", text, "attempt", attempts, "delay", delay)
}

// subscribed is a line of the story, and the end of an outage, unless the connection comes and goes.
func (r *reporter) subscribed(thing string, attempts int) {
	level := slog.LevelInfo
	if r.flaps && r.same > 1 {
		level = slog.LevelDebug
	}
	r.logger.Log(context.Background(), level, "mqtt subscribed, waiting for notifications", "thing", thing, "attempt", attempts)
}
