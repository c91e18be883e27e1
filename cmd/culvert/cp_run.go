package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/units"
	"github.com/culvert-iot/culvert/operator/transfer"
)

// cpRun is one run of cp.
type cpRun struct {
	*cpOptions

	path    string // of ssh
	sources []transfer.Location
	target  transfer.Location
	copiers []*transfer.Copier // one for each thing
	show    *progress

	lastWords *aside // of the newest ssh

	mu      sync.Mutex // guards the fields below
	out     io.Writer
	summary cpSummary
}

// cpSummary is the last event of --json.
type cpSummary struct {
	Event     string  `json:"event"`
	Files     int     `json:"files"` // links included
	Copied    int     `json:"copied"`
	Unchanged int     `json:"unchanged"`
	Failed    int     `json:"failed"` // directories included
	Bytes     int64   `json:"bytes"`  // of the files that are now complete
	Sent      int64   `json:"sent"`
	Check     string  `json:"check"` // "" if nothing was copied
	Seconds   float64 `json:"seconds"`
}

// cpEvent is the outcome of one file.
type cpEvent struct {
	Event   string `json:"event"`
	Kind    string `json:"kind"`
	Source  string `json:"source"`
	Target  string `json:"target"`
	State   string `json:"state"`
	Bytes   int64  `json:"bytes"`
	Sent    int64  `json:"sent"`
	Resumed int64  `json:"resumed_at"`
	Check   string `json:"check,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Error   string `json:"error,omitempty"`
}

// all copies everything, one thing after the other.
func (r *cpRun) all(ctx context.Context, cmd *cobra.Command) (err error) {
	began := time.Now()
	for _, c := range r.copiers {
		if err = r.copy(ctx, cmd, c); err != nil {
			break
		}
	}
	r.show.settle()
	sent := int64(0)
	for _, c := range r.copiers {
		sent += c.Progress().Sent
	}
	s := r.summary
	s.Event, s.Sent, s.Seconds = "summary", sent, time.Since(began).Round(time.Millisecond).Seconds()
	if r.json {
		r.print(s)
	}
	switch {
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, hint.New("interrupted", goesOnHint)}
	case err != nil:
		return err
	}
	r.sumUp(s)
	if s.Failed > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// sumUp prints the outcome in one line.
func (r *cpRun) sumUp(s cpSummary) {
	text := count(s.Copied, "file") + " copied"
	if s.Unchanged > 0 {
		text += fmt.Sprintf(", %d unchanged", s.Unchanged)
	}
	text += ", " + units.Bytes(s.Bytes)
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	text += fmt.Sprintf(", in %v", (time.Duration(s.Seconds*1000) * time.Millisecond).Round(100*time.Millisecond))
	if s.Sent > 0 && s.Seconds > 0 {
		text += fmt.Sprintf(" (%s/s)", units.Bytes(int64(float64(s.Sent)/s.Seconds)))
	}
	switch s.Check {
	case "sha256":
		text += "; SHA-256 is the same at both ends"
	case "read":
		text += "; read back and compared"
	case "size":
		text += "; only sizes were compared"
	}
	r.show.note("%s", text)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// copy copies from or to one thing, over as many connections as that takes.
func (r *cpRun) copy(ctx context.Context, cmd *cobra.Command, c *transfer.Copier) error {
	thing := c.Target
	if !thing.IsRemote() {
		thing = c.Sources[0]
	}
	last, sent := time.Now(), int64(0)
	for attempt := 0; ; attempt++ {
		connected, err := r.once(ctx, cmd, thing, c, attempt > 0)
		if p := c.Progress(); p.Sent > sent || attempt == 0 {
			last, sent, attempt = time.Now(), p.Sent, 0
		}
		lost := errors.Is(err, transfer.ErrLost)
		if _, wrong := errors.AsType[*usageError](err); wrong || err == nil || ctx.Err() != nil {
			return err
		}
		// After one success another is likely: the device may have restarted, or the network changed.
		if again := lost || attempt > 0 && !connected; !again || r.retry == 0 || time.Since(last) > r.retry {
			if lost {
				err = hint.Wrap(fmt.Errorf("the connection to %s was lost", thing.Host), goesOnHint)
			}
			if r.lastWords != nil {
				r.lastWords.release()
			}
			if e, ok := errors.AsType[*exitError](err); ok {
				return e
			}
			return &exitError{exitFailed, err}
		}
		r.show.settle()
		if lost {
			r.show.note("the connection to %s was lost; trying again", thing.Host)
		}
		_ = backoff.Sleep(ctx, min(time.Second<<attempt, 15*time.Second)) // the loop checks ctx
	}
}

// goesOnHint is the advice after an interrupted copy.
const goesOnHint = "run the same command again to continue"

// once copies over one connection. It reports whether it got one.
func (r *cpRun) once(ctx context.Context, cmd *cobra.Command, thing transfer.Location, c *transfer.Copier, again bool) (connected bool, err error) {
	s, err := r.connect(ctx, cmd, thing, again)
	if err != nil {
		return false, err
	}
	defer s.close()
	stop := r.watch(c)
	defer stop()
	return true, c.Run(ctx, s.Session)
}

// report records and prints the outcome of a file, directory or link.
func (r *cpRun) report(result transfer.Result) {
	r.mu.Lock()
	s := &r.summary
	switch {
	case result.State == transfer.Failed:
		s.Failed++
	case result.Kind == transfer.Directory:
	case result.State == transfer.Copied:
		s.Copied++
		s.Check = weaker(s.Check, string(result.Check))
	default:
		s.Unchanged++
	}
	s.Bytes += result.Size
	if result.State == transfer.Failed {
		s.Bytes -= result.Size
	}
	s.Files = s.Copied + s.Unchanged + s.Failed
	r.mu.Unlock()
	source := clean.Line(result.Source.String(), 0)
	if r.json {
		e := cpEvent{
			Event: "file", Kind: string(result.Kind), Source: result.Source.String(), Target: result.Target.String(), State: string(result.State),
			Bytes: result.Size, Sent: result.Sent, Resumed: result.Resumed, Check: string(result.Check), SHA256: hex.EncodeToString(result.SHA256),
		}
		if result.Err != nil {
			e.Error = clean.Line(hint.Line(result.Err), 0)
		}
		r.show.aside(func() { r.print(e) })
	}
	switch {
	case result.Err != nil:
		r.show.aside(func() { hint.Print(r.show.w, clean.Error(fmt.Errorf("%s: %w", source, result.Err))) })
	case result.Resumed > 0:
		r.show.note("%s continued after %s, which were verified", source, units.Bytes(result.Resumed))
	}
}

// weaker returns the check that proves less.
func weaker(a, b string) string {
	for _, c := range []string{"size", "read", "sha256"} {
		if a == c || b == c {
			return c
		}
	}
	return ""
}

// print writes an event of --json.
func (r *cpRun) print(event any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(event) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.out.Write(clean.JSON(b.Bytes())) // a reader that is gone still gets the exit code
}
