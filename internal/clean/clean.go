package clean

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns s with each character that does not print replaced by U+FFFD: control characters, among
// them U+009B, which some terminals take for ESC [; invalid UTF-8; and format characters such as
// U+202E, which reverses what follows. At most limit bytes are kept, cut between characters, and "…" marks
// a cut. A limit of 0 or less keeps everything.
func Text(s string, limit int) string {
	return shorten(strings.Map(printable, s), limit)
}

// Line is [Text] for one line: white space and what does not print become single spaces.
func Line(s string, limit int) string {
	fields := strings.FieldsFunc(strings.ToValidUTF8(s, "\x00"), func(r rune) bool {
		return r == ' ' || !unicode.IsPrint(r)
	})
	return shorten(strings.Join(fields, " "), limit)
}

// Error returns err with its text made safe by [Line], at any length. It wraps err; nil stays nil.
func Error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if safe := Line(text, 0); safe != text {
		return &cleaned{err, safe}
	}
	return err
}

type cleaned struct {
	error
	text string
}

func (c *cleaned) Error() string { return c.text }
func (c *cleaned) Unwrap() error { return c.error }

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return utf8.RuneError
}

func shorten(s string, limit int) string {
	if limit <= 0 || len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// JSON escapes in a JSON document each character that does not print, so that the document keeps its
// meaning and a terminal that shows it obeys none of them. Line ends, which stand between values, stay.
func JSON(document []byte) []byte {
	if !bytes.ContainsFunc(document, escapes) {
		return document
	}
	out := make([]byte, 0, len(document)+16)
	for _, r := range string(document) {
		switch {
		case !escapes(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func escapes(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
