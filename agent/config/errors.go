package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Error is one problem of a configuration.
type Error struct {
	File    string // as the caller named it
	Line    int    // 1-based; 0 when the file could not be read at all
	Column  int    // 1-based, in characters
	Width   int    // characters concerned, at least 1
	Message string
	Source  string // the line, without its end
	Err     error  // the system's error, if the file could not be read

	hint string
}

// Error gives "file:line:column: message", and the line with a mark under what is wrong.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + e.Message)
	if e.Line > 0 {
		number := fmt.Sprintf("%4d | ", e.Line)
		text, mark := excerpt(e.Source, e.Column, e.Width)
		fmt.Fprintf(&b, "\n%s%s\n%s| %s", number, text, strings.Repeat(" ", len(number)-2), mark)
	}
	return b.String()
}

// Hint says what to do; it may be empty.
func (e *Error) Hint() string { return e.hint }

// Unwrap returns the system's error, if there was one.
func (e *Error) Unwrap() error { return e.Err }

// Excerpts keep to a terminal's width.
const (
	excerptBefore = 60 // characters shown before the mark in a long line
	excerptMax    = 110
)

// excerpt returns the part of line around column, and a line of marks beneath it. It replaces
// control characters.
func excerpt(line string, column, width int) (text, mark string) {
	runes := []rune(line)
	from, at := 0, min(column-1, len(runes))
	if len(runes) > excerptMax && at > excerptBefore {
		from = at - excerptBefore
	}
	to := min(len(runes), from+excerptMax)
	var t, m strings.Builder
	if from > 0 {
		t.WriteString("…")
		m.WriteString(" ")
	}
	for i, r := range runes[from:to] {
		pad := ' '
		switch {
		case r == '\t':
			pad = '\t' // as wide as the one above it, whatever the terminal makes of it
		case !unicode.IsPrint(r):
			r = utf8.RuneError
		}
		t.WriteRune(r)
		if from+i < at {
			m.WriteRune(pad)
		}
	}
	if to < len(runes) {
		t.WriteString("…")
	}
	m.WriteString("^" + strings.Repeat("~", max(0, min(width, to-at)-1)))
	return strings.TrimRight(t.String(), " \t"), m.String()
}

// Errors are several problems of one configuration, in the order of its lines. errors.As finds the first.
type Errors []*Error

// Error gives all of them, each with its hint.
func (l Errors) Error() string {
	texts := make([]string, len(l))
	for i, e := range l {
		texts[i] = Report(e)
	}
	return strings.Join(texts, "\n")
}

// Hint is empty: each of the errors has its own, which Error shows.
func (l Errors) Hint() string { return "" }

// Report is the text of an error of [Load] with its hint on a line of its own, as a terminal shows it.
func Report(err error) string {
	if h := hint.Of(err); h != "" {
		return err.Error() + "\n  hint: " + h
	}
	return err.Error()
}

// Unwrap makes each of them visible to errors.Is and errors.As.
func (l Errors) Unwrap() []error {
	list := make([]error, len(l))
	for i, e := range l {
		list[i] = e
	}
	return list
}

// sorted orders problems by place; those of one place stay in the order they were found.
func sorted(l Errors) Errors {
	slices.SortStableFunc(l, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return l
}
