package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/terminal"
)

// watchInterval is the pause between two pictures of status --watch.
const watchInterval = 2 * time.Second

// watch repeats show until a signal ends it. The first failure is the command's; a later one may be a restart
// of the daemon, and is shown once until it changes.
func (p *program) watch(show func(ctx context.Context, w io.Writer) error, inPlace bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out, report := p.out, func(err error) { hint.Print(p.err, err) }
	if f, ok := p.out.(*os.File); ok && inPlace && terminal.Is(p.out) {
		if _, err := io.WriteString(p.out, "\x1b[2J"); err != nil {
			return err
		}
		out = picture{p.out, func() int { return screenRows(f) }}
		report = func(err error) { hint.Print(out, err) }
	}
	return repeat(ctx, func() error { return show(ctx, out) }, report)
}

// repeat calls show every watchInterval until ctx ends, and report with each new failure but the first.
func repeat(ctx context.Context, show func() error, report func(error)) error {
	last := ""
	for first := true; ; first = false {
		err := show()
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the user has ended it
		case err != nil && first:
			return err
		case err == nil:
			last = ""
		case err.Error() != last:
			last = err.Error()
			report(err)
		}
		if backoff.Sleep(ctx, watchInterval) != nil {
			return nil //nolint:nilerr // likewise
		}
	}
}

// picture writes each text over the one before it, without an empty screen in between (ECMA-48: to the upper
// left corner; erase to the end of the line; erase to the end of the screen). What the screen has no row for
// is left out, and counted in the last row.
type picture struct {
	terminal io.Writer
	rows     func() int // 0: not known
}

func (w picture) Write(text []byte) (int, error) {
	lines := strings.SplitAfter(string(text), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if rows := w.rows(); rows > 1 && len(lines) > rows-1 { // the cursor stands in the last one
		more := len(lines) - (rows - 2)
		lines = append(lines[:rows-2], fmt.Sprintf("… %d more lines\n", more))
	}
	drawn := "\x1b[H" + strings.ReplaceAll(strings.Join(lines, ""), "\n", "\x1b[K\n") + "\x1b[J"
	if _, err := io.WriteString(w.terminal, drawn); err != nil {
		return 0, err
	}
	return len(text), nil
}
