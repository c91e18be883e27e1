package main

import (
	"bytes"
	"fmt"
	"html"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	columns, rows = 80, 24
	cellWidth     = 8.4
	cellHeight    = 18
	margin        = 16
)

// cell is one place of the screen.
type cell struct {
	r     rune
	style string
}

// screen is a terminal, as far as a shell, ssh and culvert use one.
type screen struct {
	cells    [rows][columns]cell
	row, col int
	style    string
	rest     []byte // an escape sequence or a character that is not complete
}

func (s *screen) write(data []byte) {
	data = append(s.rest, data...)
	s.rest = nil
	for len(data) > 0 {
		switch c := data[0]; {
		case c == 0x1b:
			n, complete := s.escape(data)
			if !complete {
				s.rest = bytes.Clone(data)
				return
			}
			data = data[n:]
		case c == '\r':
			s.col = 0
			data = data[1:]
		case c == '\n':
			s.newline()
			data = data[1:]
		case c == '\b':
			s.col = max(s.col-1, 0)
			data = data[1:]
		case c < ' ':
			data = data[1:]
		case !utf8.FullRune(data):
			s.rest = bytes.Clone(data)
			return
		default:
			r, n := utf8.DecodeRune(data)
			data = data[n:]
			if s.col == columns {
				s.col = 0
				s.newline()
			}
			s.cells[s.row][s.col] = cell{r, s.style}
			s.col++
		}
	}
}

func (s *screen) newline() {
	if s.row++; s.row == rows {
		copy(s.cells[:], s.cells[1:])
		s.cells[rows-1] = [columns]cell{}
		s.row = rows - 1
	}
}

// escape carries a sequence out (ECMA-48): colours, erasing and moves; others are skipped.
func (s *screen) escape(data []byte) (length int, complete bool) {
	if len(data) < 2 {
		return 0, false
	}
	if data[1] == ']' { // a title, up to BEL or ST
		if i := bytes.IndexByte(data, 0x07); i >= 0 {
			return i + 1, true
		}
		if i := bytes.Index(data, []byte("\x1b\\")); i >= 0 {
			return i + 2, true
		}
		return 0, false
	}
	if data[1] != '[' {
		return 2, true
	}
	for i := 2; i < len(data); i++ {
		if data[i] < 0x40 {
			continue
		}
		s.control(string(data[2:i]), data[i])
		return i + 1, true
	}
	return 0, false
}

func (s *screen) control(args string, final byte) {
	n, _ := strconv.Atoi(strings.TrimLeft(strings.Split(args, ";")[0], "?"))
	switch final {
	case 'K':
		for i := s.col; i < columns; i++ {
			s.cells[s.row][i] = cell{}
		}
	case 'J':
		for r := s.row; r < rows; r++ {
			for i := range columns {
				if r > s.row || i >= s.col {
					s.cells[r][i] = cell{}
				}
			}
		}
	case 'A':
		s.row = max(s.row-max(n, 1), 0)
	case 'C':
		s.col = min(s.col+max(n, 1), columns-1)
	case 'G':
		s.col = min(max(n, 1), columns) - 1
	case 'H':
		s.row, s.col = 0, 0
	case 'm':
		colours := map[string]string{"31": "#f97583", "32": "#85e89d", "33": "#ffea7f", "34": "#79b8ff", "36": "#56d4dd", "90": "#8b949e", "2": "#8b949e"}
		for _, a := range strings.Split(args, ";") {
			switch {
			case a == "" || a == "0" || a == "39":
				s.style = ""
			case a == "1":
				s.style += "font-weight:bold;"
			case colours[a] != "":
				s.style += "fill:" + colours[a] + ";"
			}
		}
	}
}

// draw writes the screen's lines as SVG text.
func (s *screen) draw(out *strings.Builder) {
	for r := range rows {
		line, end := s.cells[r], 0
		for i, c := range line {
			if c.r != 0 && c.r != ' ' {
				end = i + 1
			}
		}
		if end == 0 {
			continue
		}
		fmt.Fprintf(out, `<text x="%d" y="%d" xml:space="preserve">`, margin, 48+r*cellHeight)
		for i := 0; i < end; {
			j := i
			var text strings.Builder
			for ; j < end && line[j].style == line[i].style; j++ {
				text.WriteRune(max(line[j].r, ' '))
			}
			if line[i].style == "" {
				out.WriteString(html.EscapeString(text.String()))
			} else {
				fmt.Fprintf(out, `<tspan style="%s">%s</tspan>`, line[i].style, html.EscapeString(text.String()))
			}
			i = j
		}
		out.WriteString("</text>")
	}
}

// session draws what a recording of script(1) leaves on the screen. A picture that does not move shows
// everything at once, wherever it is shown.
func session(typescript, svg string) error {
	data, err := os.ReadFile(typescript)
	if err != nil {
		return err
	}
	if i := bytes.IndexByte(data, '\n'); bytes.HasPrefix(data, []byte("Script started")) && i >= 0 {
		data = data[i+1:]
	}
	if i := bytes.LastIndex(data, []byte("\nScript done")); i >= 0 {
		data = data[:i]
	}
	if i := bytes.LastIndex(data, []byte("exit\r\nexit")); i >= 0 { // of the recording's own shell
		data = data[:i]
	}
	var s screen
	s.write(data)
	used := s.row + 1
	var text strings.Builder
	s.draw(&text)
	if text.Len() == 0 {
		return fmt.Errorf("%s has no output", typescript)
	}
	width, height := int(columns*cellWidth)+2*margin, used*cellHeight+52
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="A recorded session: culvert ssh goes on after the network was gone">`+"\n", width, height, width, height)
	out.WriteString(`<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#e6edf3}</style>` + "\n")
	// The frame shows where the page is as dark, too.
	fmt.Fprintf(&out, `<rect x="0.5" y="0.5" width="%d" height="%d" rx="8" fill="#0d1117" stroke="#3d444d"/><circle cx="18" cy="16" r="5" fill="#f97583"/><circle cx="36" cy="16" r="5" fill="#ffea7f"/><circle cx="54" cy="16" r="5" fill="#85e89d"/>`+"\n", width-1, height-1)
	out.WriteString(text.String() + "\n</svg>\n")
	return os.WriteFile(svg, []byte(out.String()), 0o644)
}
