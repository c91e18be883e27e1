package localproxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
)

// Levels of Config.Verbose.
const (
	levelFatal = 1 + iota
	levelError
	levelWarning
	levelInfo
	levelDebug
	levelTrace
)

var levelNames = [...]string{"", "fatal", "error", "warning", "info", "debug", "trace"}

// journal writes log lines in the reference local proxy's form, since scripts wait for some of them and take
// ports from others:
//
//	[2026-01-17T21:37:15.528290]{632}[info]    Listening for new connection on port 5555
type journal struct {
	level int
	mu    sync.Mutex
	w     io.Writer
}

func (j *journal) printf(level int, format string, args ...any) {
	if level <= j.level {
		j.write(level, time.Now(), fmt.Sprintf(format, args...))
	}
}

func (j *journal) write(level int, at time.Time, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = fmt.Fprintf(j.w, "[%s]{%d}%-10s%s\n", at.Format("2006-01-02T15:04:05.000000"), os.Getpid(), "["+levelNames[level]+"]", clean.Text(text, 0))
}

// logger returns a logger that writes to the journal.
func (j *journal) logger() *slog.Logger {
	h := &recordHandler{j: j, line: new(bytes.Buffer), mu: new(sync.Mutex)}
	h.attrs = slog.NewTextHandler(h.line, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
	return slog.New(h)
}

// recordHandler writes each record as a line: the message, then its attributes.
type recordHandler struct {
	j     *journal
	mu    *sync.Mutex
	line  *bytes.Buffer
	attrs slog.Handler // writes to line
}

func levelOf(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return levelError
	case l >= slog.LevelWarn:
		return levelWarning
	case l >= slog.LevelInfo:
		return levelInfo
	}
	return levelDebug
}

func (h *recordHandler) Enabled(_ context.Context, l slog.Level) bool { return levelOf(l) <= h.j.level }

func (h *recordHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &recordHandler{h.j, h.mu, h.line, h.attrs.WithAttrs(attrs)}
}

func (h *recordHandler) WithGroup(name string) slog.Handler {
	return &recordHandler{h.j, h.mu, h.line, h.attrs.WithGroup(name)}
}

func (h *recordHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Reset()
	if err := h.attrs.Handle(ctx, r); err != nil {
		return err
	}
	h.j.write(levelOf(r.Level), r.Time, strings.TrimSpace(r.Message+" "+strings.TrimSpace(h.line.String())))
	return nil
}
