package harness

import (
	"strings"
	"unicode/utf8"
)

// Screen is a terminal that never scrolls, with the functions (ECMA-48) that the project's programs use: carriage
// returns, line feeds and erasing. It skips colours and all other sequences. The zero value has no size; set Columns
// first.
type Screen struct {
	Columns int
	// Wrapped counts the lines that were longer than Columns.
	Wrapped int

	lines    [][]rune
	row, col int
}

// Write shows text. Pass whole texts: a call must not end within a sequence.
func (s *Screen) Write(text string) {
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case strings.HasPrefix(text, "\x1b["):
			n = 2
			for n < len(text) && text[n] < '@' {
				n++
			}
			if n < len(text) {
				s.erase(text[2:n], text[n])
				n++
			}
		case r == '\r':
			s.col = 0
		case r == '\n':
			s.row++
		case r == '\b':
			s.col = max(s.col-1, 0)
		case r >= ' ':
			s.put(r)
		}
		text = text[min(n, len(text)):]
	}
}

func (s *Screen) put(r rune) {
	if s.col == s.Columns {
		s.Wrapped++
		s.row, s.col = s.row+1, 0
	}
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
	for len(s.lines[s.row]) <= s.col {
		s.lines[s.row] = append(s.lines[s.row], ' ')
	}
	s.lines[s.row][s.col] = r
	s.col++
}

func (s *Screen) erase(args string, final byte) {
	switch {
	case final == 'K' && s.row < len(s.lines) && s.col < len(s.lines[s.row]):
		s.lines[s.row] = s.lines[s.row][:s.col]
	case final == 'J' && args == "2":
		s.lines = nil
	case final == 'H':
		s.row, s.col = 0, 0
	}
}

// Lines returns the lines up to the last one that shows something, without blanks at their ends.
func (s *Screen) Lines() []string {
	lines := make([]string, len(s.lines))
	last := 0
	for i, l := range s.lines {
		if lines[i] = strings.TrimRight(string(l), " "); lines[i] != "" {
			last = i + 1
		}
	}
	return lines[:last]
}
