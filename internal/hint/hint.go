package hint

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// hinted is an error with advice. It prints as the error alone.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Hint returns the advice.
func (h *hinted) Hint() string { return h.hint }

// Wrap attaches advice to err. The error's text stays as it is. Wrap returns err itself when err is
// nil or text is empty.
func Wrap(err error, text string) error {
	if err == nil || text == "" {
		return err
	}
	return &hinted{err, text}
}

// Wrapf is [Wrap] with a format.
func Wrapf(err error, format string, args ...any) error {
	return Wrap(err, fmt.Sprintf(format, args...))
}

// New returns an error with the given text and advice.
func New(text, advice string) error { return Wrap(errors.New(text), advice) }

// Of returns the outermost advice attached to err or to an error that it wraps; "" if there is none.
// An error type brings its own advice with a method Hint() string.
func Of(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}

// Line joins an error and its advice in one line, for logs that hold nothing but text.
func Line(err error) string {
	if h := Of(err); h != "" {
		return err.Error() + "; " + h
	}
	return err.Error()
}

// Print writes err as an "error:" line and its advice as "hint:" lines, in one call of Write: w may show each text in
// the place of the one before.
func Print(w io.Writer, err error) {
	text := "error: " + err.Error() + "\n"
	if h := Of(err); h != "" {
		text += "hint: " + strings.ReplaceAll(h, "\n", "\nhint: ") + "\n"
	}
	_, _ = io.WriteString(w, text)
}
