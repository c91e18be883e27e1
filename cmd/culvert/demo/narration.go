package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// narration writes one line for each step when it is done, at most 79 columns wide. On a terminal the
// line appears when the step begins and shows its progress.
type narration struct {
	out      io.Writer
	terminal bool // lines may be rewritten
	color    bool

	mu    sync.Mutex
	steps int
	name  string // of the current step; "" between steps
}

// The look of a line: number, step, figure, words.
const (
	nameWidth   = 19
	figureWidth = 9
)

// Colours, by what they are for.
const (
	dim   = "2"
	bold  = "1"
	green = "32"
	red   = "31"
)

func (n *narration) paint(style, text string) string {
	if !n.color || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// say writes lines of plain text.
func (n *narration) say(lines ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range lines {
		_, _ = fmt.Fprintln(n.out, l)
	}
}

// begin starts a step.
func (n *narration) begin(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.steps++
	n.name = name
	n.draw("", "…", "")
}

// progress shows the current step's progress, on a terminal only.
func (n *narration) progress(figure, words string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draw("", figure, words)
}

// draw rewrites the current line.
func (n *narration) draw(style, figure, words string) {
	if n.terminal && n.name != "" {
		_, _ = fmt.Fprint(n.out, "\r"+n.line(style, figure, words)+"\x1b[K")
	}
}

// done ends the step with its figure and what it shows.
func (n *narration) done(figure, words string) { n.end(green, figure, words) }

// stopped ends the current step without success, and returns its number and name.
func (n *narration) stopped(how string) (int, string) {
	name := n.name
	n.end(red, how, "")
	return n.steps, name
}

func (n *narration) end(style, figure, words string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.terminal {
		n.draw(style, figure, words)
		_, _ = fmt.Fprintln(n.out)
	} else {
		_, _ = fmt.Fprintln(n.out, n.line(style, figure, words))
	}
	n.name = ""
}

func (n *narration) line(style, figure, words string) string {
	number := n.paint(dim, fmt.Sprintf("%2d", n.steps))
	name := fmt.Sprintf("%-*s", nameWidth, n.name)
	if style != "" {
		figure = strings.Repeat(" ", max(0, figureWidth-len([]rune(figure)))) + n.paint(style, figure)
	} else {
		figure = fmt.Sprintf("%*s", figureWidth, figure)
	}
	return strings.TrimRight(number+"  "+name+" "+figure+"   "+words, " ")
}

// duration shows a time with as many digits as mean something.
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
}

// size shows a number of bytes in binary units, as files are measured.
func size(n int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.bytes {
			return strings.TrimSuffix(strconv.FormatFloat(float64(n)/float64(u.bytes), 'f', 1, 64), ".0") + " " + u.name
		}
	}
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// rate shows bytes a second in decimal units, as networks are measured.
func rate(n int64, d time.Duration) string {
	perSecond := float64(n) / max(d.Seconds(), 1e-9)
	switch {
	case perSecond < 10e3:
		return fmt.Sprintf("%.0f B/s", perSecond)
	case perSecond < 1e6:
		return fmt.Sprintf("%.0f kB/s", perSecond/1e3)
	case perSecond < 10e6:
		return fmt.Sprintf("%.1f MB/s", perSecond/1e6)
	default:
		return fmt.Sprintf("%.0f MB/s", perSecond/1e6)
	}
}

// count shows a number with its thousands set apart.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural joins a number and a noun.
func plural(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// list joins names as a sentence does.
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
