package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/loglimit"
)

// The budget of the log, for lines that a broken network, a broker or a tunnel's far side can cause without
// end. The trail of tunnels and connections has limits of its own, where it is written.
const (
	logPerMinute = 32 << 10 // bytes
	logPerDay    = 4 << 20
	// logKindEvery is how often a line of each kind is written, whatever has been spent.
	logKindEvery = time.Hour
	// logKinds is more than there are messages.
	logKinds = 256
	// logSummary is how long left-out lines are counted before their number is logged.
	logSummary = time.Minute
	// logOverhead is what a line has beside its message and attributes.
	logOverhead = 40
)

// trail are the messages that tell who was let in when. None is ever left out: a connection that was
// opened in the log is closed in it.
var trail = map[string]bool{"tunnel connected": true, "tunnel closed": true, "connection opened": true, "connection closed": true}

// budgetHandler leaves lines out once the budget is spent, and counts them. The first line of each kind, errors
// and the trail always pass; so does everything at level debug, which is for a while and on purpose.
type budgetHandler struct {
	slog.Handler
	budget *logBudget
}

// logBudget is what is left. It is safe for concurrent use.
type logBudget struct {
	level slog.Leveler
	out   slog.Handler // for the number of left-out lines

	mu      sync.Mutex
	minute  bucket
	day     bucket
	kinds   loglimit.Limiter
	leftOut int
}

func newBudgetHandler(h slog.Handler, level slog.Leveler) slog.Handler {
	return &budgetHandler{h, &logBudget{
		level: level, out: h,
		minute: bucket{size: logPerMinute, period: time.Minute},
		day:    bucket{size: logPerDay, period: 24 * time.Hour},
		kinds:  loglimit.Limiter{Every: logKindEvery, Kinds: logKinds},
	}}
}

func (h *budgetHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &budgetHandler{h.Handler.WithAttrs(attrs), h.budget}
}

func (h *budgetHandler) WithGroup(name string) slog.Handler {
	return &budgetHandler{h.Handler.WithGroup(name), h.budget}
}

// Handle writes the line, unless the budget is spent.
func (h *budgetHandler) Handle(ctx context.Context, r slog.Record) error {
	if trail[r.Message] || r.Level >= slog.LevelError || h.budget.level.Level() <= slog.LevelDebug || h.budget.allow(r, time.Now()) {
		return h.Handler.Handle(ctx, r)
	}
	return nil
}

func (b *logBudget) allow(r slog.Record, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, first := b.kinds.Allow(r.Message, now)
	if b.minute.empty(now) || b.day.empty(now) {
		if first {
			return true
		}
		if b.leftOut++; b.leftOut == 1 {
			time.AfterFunc(logSummary, b.summarize)
		}
		return false
	}
	size := lineSize(r)
	b.minute.take(size)
	b.day.take(size)
	return true
}

// summarize logs how many lines were left out.
func (b *logBudget) summarize() {
	b.mu.Lock()
	n := b.leftOut
	b.leftOut = 0
	b.mu.Unlock()
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines left out, there were too many", 0)
	r.AddAttrs(slog.Int("suppressed", n))
	_ = b.out.Handle(context.Background(), r)
}

// lineSize is about the bytes of a line.
func lineSize(r slog.Record) int {
	n := logOverhead + len(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		n += len(a.Key) + len(a.Value.String()) + 2
		return true
	})
	return n
}

// bucket is a token bucket of bytes to write: it holds size at most, and refills once in each period.
type bucket struct {
	size   int
	period time.Duration
	spent  float64
	last   time.Time
}

func (b *bucket) empty(now time.Time) bool {
	b.spent = max(0, b.spent-float64(b.size)*float64(now.Sub(b.last))/float64(b.period))
	b.last = now
	return b.spent >= float64(b.size)
}

func (b *bucket) take(n int) { b.spent += float64(n) }
