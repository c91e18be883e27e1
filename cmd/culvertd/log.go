package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
)

// underSystemd reports whether the journal puts the time in front of each line.
func underSystemd() bool {
	return os.Getenv("JOURNAL_STREAM") != "" || os.Getenv("INVOCATION_ID") != ""
}

// newLogger writes records to w, as text for people or as JSON, within the log's budget.
func newLogger(w io.Writer, format string, level *slog.LevelVar, times bool) *slog.Logger {
	if format == "json" {
		return slog.New(newBudgetHandler(slog.NewJSONHandler(jsonLines{w}, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if !times && len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}), level))
	}
	return slog.New(newBudgetHandler(newLineHandler(w, level, times), level))
}

// jsonLines escapes what a terminal would obey: slog's JSON form has it as it came.
type jsonLines struct{ w io.Writer }

func (j jsonLines) Write(line []byte) (int, error) {
	if _, err := j.w.Write(clean.JSON(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// lineHandler writes "TIME LEVEL message key=value ...". It leaves the attributes to slog's own text form.
type lineHandler struct {
	attrs slog.Handler // writes to out.line
	out   *lineWriter
}

type lineWriter struct {
	mu    sync.Mutex
	line  bytes.Buffer
	w     io.Writer
	times bool
}

func newLineHandler(w io.Writer, level slog.Leveler, times bool) *lineHandler {
	out := &lineWriter{w: w, times: times}
	attrs := slog.NewTextHandler(&out.line, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
	return &lineHandler{attrs, out}
}

func (h *lineHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.attrs.Enabled(ctx, l) }

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lineHandler{h.attrs.WithAttrs(attrs), h.out}
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	return &lineHandler{h.attrs.WithGroup(name), h.out}
}

// Handle writes one line at once.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	o := h.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line.Reset()
	if o.times {
		o.line.WriteString(r.Time.UTC().Format(time.RFC3339) + " ")
	}
	level := r.Level.String()
	o.line.WriteString(level)
	for range max(0, 6-len(level)) {
		o.line.WriteByte(' ')
	}
	o.line.WriteString(r.Message + " ")
	if err := h.attrs.Handle(ctx, r); err != nil {
		return err
	}
	if b := o.line.Bytes(); bytes.HasSuffix(b, []byte(" \n")) { // no attributes
		o.line.Truncate(len(b) - 2)
		o.line.WriteByte('\n')
	}
	_, err := o.w.Write(o.line.Bytes())
	return err
}
