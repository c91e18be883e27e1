package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// account writes what happens: one line a step, when the step is done. On a terminal the line is there from the
// step's beginning and shows how far it is; elsewhere nothing is written that would have to be taken back.
type account struct {
	out      io.Writer
	terminal bool // lines may be rewritten
	color    bool

	mu    sync.Mutex
	steps int
	name  string // of the step under way; "" between steps
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

func (a *account) paint(style, text string) string {
	if !a.color || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// say writes lines of plain text.
func (a *account) say(lines ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range lines {
		_, _ = fmt.Fprintln(a.out, l)
	}
}

// begin starts a step.
func (a *account) begin(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.steps++
	a.name = name
	a.draw("", "…", "")
}

// progress shows how far the step under way is; on a terminal only.
func (a *account) progress(figure, words string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.draw("", figure, words)
}

// draw rewrites the present line.
func (a *account) draw(style, figure, words string) {
	if a.terminal && a.name != "" {
		_, _ = fmt.Fprint(a.out, "\r"+a.line(style, figure, words)+"\x1b[K")
	}
}

// done ends the step with its figure and what it shows.
func (a *account) done(figure, words string) { a.end(green, figure, words) }

// stopped ends the step under way without success, and returns its number and name.
func (a *account) stopped(how string) (int, string) {
	name := a.name
	a.end(red, how, "")
	return a.steps, name
}

func (a *account) end(style, figure, words string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.terminal {
		a.draw(style, figure, words)
		_, _ = fmt.Fprintln(a.out)
	} else {
		_, _ = fmt.Fprintln(a.out, a.line(style, figure, words))
	}
	a.name = ""
}

func (a *account) line(style, figure, words string) string {
	number := a.paint(dim, fmt.Sprintf("%2d", a.steps))
	name := fmt.Sprintf("%-*s", nameWidth, a.name)
	if style != "" {
		figure = strings.Repeat(" ", max(0, figureWidth-len([]rune(figure)))) + a.paint(style, figure)
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

// list joins names as a sentence does.
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
