package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/terminal"
	"github.com/culvert-iot/culvert/operator/connect"
)

// progress shows what is being done: on a terminal one line that changes in place and is gone at the end, elsewhere a
// line a step. What it says is for people; scripts look at standard output and exit codes.
type progress struct {
	w           io.Writer
	live, quiet bool
	observe     func(connect.Event) // gets each event first; may be nil

	mu    sync.Mutex
	step  string
	bar   func(width int) string // instead of the step
	began time.Time              // of the step
	shown int                    // how long the live line is
	ended bool
	stop  chan struct{}
	tick  sync.WaitGroup
}

// lineWidth is what a live line may take at most, and minWidth at least. One that wraps could not be taken back.
const lineWidth, minWidth = 79, 20

// width is what it may take on the terminal as it is now.
func (p *progress) width() int {
	if columns, ok := terminal.Width(p.w); ok && columns > 0 {
		return min(max(columns-1, minWidth), lineWidth)
	}
	return lineWidth
}

func newProgress(w io.Writer, quiet bool) *progress {
	p := &progress{w: w, live: terminal.Is(w) && os.Getenv("TERM") != "dumb", quiet: quiet, stop: make(chan struct{})}
	if p.live && !quiet {
		p.tick.Go(p.run)
	}
	return p
}

// run keeps the seconds going.
func (p *progress) run() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

// event takes what happens.
func (p *progress) event(e connect.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.observe != nil {
		p.observe(e)
	}
	if p.quiet || p.ended {
		return
	}
	switch e.Kind { //nolint:exhaustive // all others are lines
	case connect.Detached:
		e.Kind = connect.Step
		if p.live && p.shown == 0 {
			fmt.Fprint(p.w, "\r\n") // a session is on the screen: its last line stays
		}
	case connect.Resumed, connect.DeviceBack:
		e.Kind = connect.Done
	}
	if e.Kind == connect.Step {
		p.step, p.began = e.Text, time.Now()
		if !p.live {
			p.print("culvert: ", e.Text)
			return
		}
		p.draw()
		return
	}
	p.erase()
	if e.Kind == connect.Done {
		p.step = ""
	}
	prefix := "culvert: "
	if e.Kind == connect.Advice {
		prefix = "culvert:   "
	}
	p.print(prefix, e.Text)
	p.draw()
}

// aside runs write, which may write to the same terminal, without the live line.
func (p *progress) aside(write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	write()
	p.draw()
}

// note prints a line of its own.
func (p *progress) note(format string, args ...any) {
	p.event(connect.Event{Kind: connect.Notice, Text: fmt.Sprintf(format, args...)})
}

// setStep is [progress.event] with a step.
func (p *progress) setStep(text string) { p.event(connect.Event{Kind: connect.Step, Text: text}) }

// setBar makes text, for at most width characters, the live line until [progress.settle].
func (p *progress) setBar(text func(width int) string) {
	if !p.live {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bar = text
	p.draw()
}

// print writes a line. While ssh has the terminal in raw mode, a line feed alone would leave the cursor in its column.
func (p *progress) print(prefix, text string) {
	end := "\n"
	if p.live {
		end = "\r\n"
	}
	fmt.Fprintf(p.w, "%s%s%s", prefix, text, end)
}

func (p *progress) draw() {
	if !p.live || p.quiet || p.ended || p.step == "" && p.bar == nil {
		return
	}
	text := "culvert: " + p.step + " ..."
	if s := int(time.Since(p.began).Seconds()); s > 0 {
		text += fmt.Sprintf(" %d s", s)
	}
	if p.bar != nil {
		text = p.bar(p.width())
	}
	text = fmt.Sprintf("%.*s", p.width(), text)
	if len(text) < p.shown {
		p.erase()
	}
	fmt.Fprint(p.w, "\r"+text)
	p.shown = len(text)
}

// erase overwrites the live line with blanks, which every terminal understands, that of Windows included.
func (p *progress) erase() {
	if p.shown > 0 {
		fmt.Fprint(p.w, "\r"+strings.Repeat(" ", p.shown)+"\r")
		p.shown = 0
	}
}

// settle takes the live line back: nothing is being waited for. A later step shows it again.
func (p *progress) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.step, p.bar = "", nil
}

// end takes the live line back for good.
func (p *progress) end() {
	p.settle()
	p.mu.Lock()
	ended := p.ended
	p.ended = true
	p.mu.Unlock()
	if !ended {
		close(p.stop)
		p.tick.Wait()
	}
}

// warnings is a log handler that shows warnings and errors as lines of progress.
type warnings struct{ *progress }

func (w warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (w warnings) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.Key + "=" + fmt.Sprintf("%q", a.Value.String())
		return true
	})
	w.note("%s", text)
	return nil
}

func (w warnings) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w warnings) WithGroup(string) slog.Handler      { return w }
