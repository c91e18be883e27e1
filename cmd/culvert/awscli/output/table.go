package output

import (
	"math"
	"slices"
	"strings"

	"golang.org/x/text/width"
)

// table writes an object as a section with one row of its scalars. The lists and objects in it are sections below,
// each indented one step further.
func (p Printer) table(b *strings.Builder, v any) {
	t := &tables{}
	if !t.build(p.Title, v, 0) {
		return
	}
	columns := p.Width
	if columns <= 0 {
		columns = 80
	}
	if t.width() > columns {
		t.turn()
	}
	all := t.width()
	b.WriteString(strings.Repeat("-", all) + "\n")
	for _, s := range t.sections {
		s.render(b, all, p.Color)
	}
}

type tables struct{ sections []*section }

type section struct {
	title   string
	indent  int
	headers []string
	rows    [][]string
	widths  []int // of the longest cell of each column
}

func (t *tables) begin(title string, indent int) *section {
	s := &section{title: title, indent: indent}
	t.sections = append(t.sections, s)
	return s
}

func (t *tables) last() *section { return t.sections[len(t.sections)-1] }

// build adds the sections of a value. It returns false if there is nothing to show.
func (t *tables) build(title string, v any, indent int) bool {
	switch v := v.(type) {
	case Object:
		if len(v) == 0 {
			return false
		}
		t.object(t.begin(title, indent), v, indent)
	case []any:
		if len(v) == 0 {
			return false
		}
		s := t.begin(title, indent)
		if _, ok := v[0].(Object); ok {
			t.list(s, title, v, indent)
			return true
		}
		for _, e := range v {
			switch list, isList := e.([]any); {
			case isScalar(e):
				t.last().add([]string{word(e)})
			case isList && !slices.ContainsFunc(list, func(e any) bool { return !isScalar(e) }):
				t.last().add(words(list))
			default:
				t.build("", e, 0)
			}
		}
	case nil:
		return false
	default:
		if w := word(v); w != "" && w != "False" && w != "0" && w != "0.0" {
			t.begin(title, indent).add([]string{w})
		}
	}
	return len(t.sections) > 0
}

func words(list []any) (row []string) {
	for _, e := range list {
		row = append(row, word(e))
	}
	return row
}

func (t *tables) object(s *section, o Object, indent int) {
	var scalars []string
	var rest Object
	for _, m := range o.sorted() {
		if isScalar(m.Value) {
			scalars = append(scalars, m.Name)
		} else {
			rest = append(rest, m)
		}
	}
	switch row := cells(o, scalars); len(scalars) {
	case 0:
	case 1:
		s.add([]string{scalars[0], row[0]})
	default:
		s.head(scalars)
		s.add(row)
	}
	for _, m := range rest {
		t.build(m.Name, m.Value, indent+1)
	}
}

func (t *tables) list(s *section, title string, list []any, indent int) {
	var headers, rest []string
	for _, e := range list {
		o, _ := e.(Object)
		for _, m := range o {
			if isScalar(m.Value) {
				headers = append(headers, m.Name)
			} else {
				rest = append(rest, m.Name)
			}
		}
	}
	slices.Sort(headers)
	slices.Sort(rest)
	headers, rest = slices.Compact(headers), slices.Compact(rest)
	s.head(headers)
	for i, e := range list {
		o, _ := e.(Object)
		if i > 0 && len(rest) > 0 {
			s = t.begin(title, indent)
			s.head(headers)
		}
		s.add(cells(o, headers))
		for _, k := range rest {
			if v, ok := o.Get(k); ok {
				t.build(k, v, indent+1)
			}
		}
	}
}

func (s *section) head(headers []string) {
	s.headers = headers
	s.measure(headers)
}

func (s *section) add(row []string) {
	s.rows = append(s.rows, row)
	s.measure(row)
}

func (s *section) measure(row []string) {
	for i, cell := range row {
		if i == len(s.widths) {
			s.widths = append(s.widths, 0)
		}
		s.widths[i] = max(s.widths[i], columns(cell))
	}
}

// width is that of the widest section, with borders.
func (t *tables) width() (w int) {
	for _, s := range t.sections {
		total := 2 + 2*s.indent
		for _, c := range s.widths {
			total += c + 4
		}
		w = max(w, total, columns(s.title)+2+2*s.indent)
	}
	return w
}

// turn makes of each section with one row a list: a line for each column.
func (t *tables) turn() {
	for _, s := range t.sections {
		if len(s.rows) != 1 || len(s.headers) == 0 {
			continue
		}
		headers, row := s.headers, s.rows[0]
		s.headers, s.rows, s.widths = nil, nil, nil
		for i, h := range headers {
			s.add([]string{h, row[i]})
		}
	}
}

// scaled stretches the columns to fill the whole width.
func (s *section) scaled(whole int) []int {
	sum := 0
	for _, w := range s.widths {
		sum += w + 4
	}
	scaled := make([]int, len(s.widths))
	over := -whole
	for i, w := range s.widths {
		scaled[i] = int(math.RoundToEven(float64(whole) / float64(sum) * float64(w+4)))
		over += scaled[i]
	}
	for i := 0; over > 0; i = (i + 1) % len(scaled) {
		scaled[i]--
		over--
	}
	for i := len(scaled) - 1; over < 0; i = (i + len(scaled) - 1) % len(scaled) {
		scaled[i]++
		over++
	}
	return scaled
}

func (s *section) render(b *strings.Builder, whole int, color bool) {
	whole -= 2 * s.indent
	edge := strings.Repeat(styled("|", "\x1b[2m\x1b[33m", color), s.indent)
	line := func(text string) { b.WriteString(edge + text + edge + "\n") }
	if s.title != "" {
		line(center(s.title, whole, "|"))
		if len(s.headers) == 0 && len(s.rows) == 0 {
			line("+" + strings.Repeat("-", whole-2) + "+")
		}
	}
	if len(s.widths) == 0 {
		return
	}
	widths := s.scaled(whole)
	parts := make([]string, len(widths))
	for i, w := range widths {
		parts[i] = strings.Repeat("-", max(w-1-len(left(i)), 0)) + "+"
	}
	rule := "+" + strings.Join(parts, "")
	if len(s.headers) > 0 {
		line(rule)
		cells := make([]string, len(s.headers))
		for i, h := range s.headers {
			cells[i] = center(h, widths[i], left(i))
		}
		line(strings.Join(cells, ""))
	}
	if len(s.rows) == 0 {
		return
	}
	line(rule)
	for _, row := range s.rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = align(cell, widths[i], left(i), color)
		}
		line(strings.Join(cells, ""))
	}
	line(rule)
}

// left is the left edge of a column. All but the first share their neighbour's right edge.
func left(i int) string {
	if i == 0 {
		return "|"
	}
	return ""
}

func center(s string, whole int, edge string) string {
	n := columns(s)
	before := max(whole/2-n/2-1, 0)
	after := max(whole-1-len(edge)-before-n, 0)
	return edge + strings.Repeat(" ", before) + s + strings.Repeat(" ", after) + "|"
}

func align(s string, whole int, edge string, color bool) string {
	n := columns(s)
	padding := 2
	if whole < n+padding+len(edge)+1 {
		padding = 0
	}
	after := max(whole-len(edge)-padding-n-1, 0)
	return edge + strings.Repeat(" ", padding) + styled(s, "\x1b[1m\x1b[34m", color) + strings.Repeat(" ", after) + "|"
}

func styled(s, style string, color bool) string {
	if !color {
		return s
	}
	return style + s + "\x1b[0m"
}

// columns is the width of a text on a terminal.
func columns(s string) (n int) {
	for _, r := range s {
		switch width.LookupRune(r).Kind() {
		case width.EastAsianWide, width.EastAsianFullwidth, width.EastAsianAmbiguous:
			n += 2
		default:
			n++
		}
	}
	return n
}
