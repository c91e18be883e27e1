package main

import (
	"bufio"
	"bytes"
	"fmt"
	"html"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	columns, rows = 80, 14
	cellWidth     = 8.4
	cellHeight    = 18
	margin        = 16
	longestPause  = 1.5 // seconds; waits of a recording are cut to it
	frameEvery    = 0.08
	lastFrame     = 4.0 // seconds that the end stays
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

// session draws a recording of script(1): each frame is shown from its time to that of the next one.
func session(typescript, timing, svg string) error {
	data, err := os.ReadFile(typescript)
	if err != nil {
		return err
	}
	if i := bytes.IndexByte(data, '\n'); bytes.HasPrefix(data, []byte("Script started")) && i >= 0 {
		data = data[i+1:]
	}
	f, err := os.Open(timing)
	if err != nil {
		return err
	}
	defer f.Close()
	var s screen
	type frame struct {
		at   float64
		text string
	}
	var frames []frame
	now := 0.0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var pause float64
		var n int
		if _, err := fmt.Sscan(lines.Text(), &pause, &n); err != nil {
			return fmt.Errorf("%s: %q: %w", timing, lines.Text(), err)
		}
		now += min(pause, longestPause)
		n = min(n, len(data))
		s.write(data[:n])
		data = data[n:]
		var text strings.Builder
		s.draw(&text)
		if len(frames) > 0 && (now-frames[len(frames)-1].at < frameEvery || frames[len(frames)-1].text == text.String()) {
			frames[len(frames)-1].text = text.String()
			continue
		}
		frames = append(frames, frame{now, text.String()})
	}
	if len(frames) == 0 {
		return fmt.Errorf("%s has no output", typescript)
	}
	total := now + lastFrame
	width, height := int(columns*cellWidth)+2*margin, rows*cellHeight+52
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="A recorded session of culvert ssh">`+"\n", width, height, width, height)
	out.WriteString(`<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#e6edf3}` +
		`g.f{visibility:hidden;animation:` + fmt.Sprintf("%.2fs", total) + ` step-end infinite}`)
	for i, f := range frames {
		from, to := 100*f.at/total, 100.0
		if i+1 < len(frames) {
			to = 100 * frames[i+1].at / total
		}
		fmt.Fprintf(&out, "#f%d{animation-name:k%d}@keyframes k%d{0%%{visibility:hidden}%.3f%%{visibility:visible}", i, i, i, from)
		if to < 100 {
			fmt.Fprintf(&out, "%.3f%%{visibility:hidden}", to)
		}
		out.WriteString("}")
	}
	// Where nothing may move, the end is shown.
	fmt.Fprintf(&out, `@media (prefers-reduced-motion:reduce){g.f{animation:none}#f%d{visibility:visible}}</style>`+"\n", len(frames)-1)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" rx="8" fill="#0d1117"/><circle cx="18" cy="16" r="5" fill="#f97583"/><circle cx="36" cy="16" r="5" fill="#ffea7f"/><circle cx="54" cy="16" r="5" fill="#85e89d"/>`+"\n", width, height)
	for i, f := range frames {
		fmt.Fprintf(&out, `<g class="f" id="f%d">%s</g>`+"\n", i, f.text)
	}
	out.WriteString("</svg>\n")
	return os.WriteFile(svg, []byte(out.String()), 0o644)
}
