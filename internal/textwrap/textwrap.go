package textwrap

import (
	"strings"
	"unicode/utf8"
)

// Hanging returns text as lines of at most width characters, each ended by a newline. The first line
// starts with first, the others with as many spaces. White space between words becomes one space; a
// word that is too long for a line is cut.
func Hanging(first, text string, width int) string {
	indent := utf8.RuneCountInString(first)
	room := max(1, width-indent)
	var b strings.Builder
	b.WriteString(first)
	used := 0
	next := func() {
		b.WriteString("\n" + strings.Repeat(" ", indent))
		used = 0
	}
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > room {
			next()
		}
		if used > 0 {
			b.WriteByte(' ')
			used++
		}
		for n > room {
			runes := []rune(word)
			b.WriteString(string(runes[:room]))
			word, n = string(runes[room:]), n-room
			next()
		}
		b.WriteString(word)
		used += n
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}
