package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Bounds of what is kept of a device's output.
const (
	maxLine     = 64 << 10 // bytes that wait for the end of their line
	maxCaptured = 1 << 20  // bytes of each stream in --json
)

// execResult is what became of a thing, as --json has it.
type execResult struct {
	Thing     string  `json:"thing"`
	State     string  `json:"state"`     // done, failed, offline
	ExitCode  int     `json:"exit_code"` // of ssh; -1 if it did not run
	Seconds   float64 `json:"seconds"`
	Error     string  `json:"error,omitempty"`
	Stdout    string  `json:"stdout,omitempty"`
	Stderr    string  `json:"stderr,omitempty"`
	Truncated bool    `json:"truncated,omitempty"` // Stdout or Stderr is its beginning only
}

func (r *execResult) print(w io.Writer) {
	if r.State == "offline" {
		r.ExitCode = -1
	}
	_ = json.NewEncoder(w).Encode(r)
}

// exitOfSSH is what ssh itself fails with. A command may end with it, too.
const exitOfSSH = 255

func (r *execResult) line() string {
	switch {
	case r.State == "offline":
		return "skipped: " + r.Error
	case r.ExitCode < 0:
		return fmt.Sprintf("%s failed after %.1f s: %s", r.Thing, r.Seconds, r.Error)
	case r.Error != "":
		return fmt.Sprintf("%s ended with exit code %d after %.1f s; %s", r.Thing, r.ExitCode, r.Seconds, r.Error)
	case r.ExitCode == exitOfSSH:
		return fmt.Sprintf("%s ended with exit code %d after %.1f s: probably ssh could not log in; try culvert ssh %s", r.Thing, r.ExitCode, r.Seconds, r.Thing)
	}
	return fmt.Sprintf("%s ended with exit code %d after %.1f s", r.Thing, r.ExitCode, r.Seconds)
}

// execOutput is where a device's output goes. finish ends it and puts what was captured into the result.
type execOutput struct {
	stdout, stderr io.Writer
	finish         func(*execResult)
}

// output returns where a thing's output goes, as the flags say.
func (r *execRun) output(thing string) (*execOutput, error) {
	switch {
	case r.json:
		out, err := &capture{}, &capture{}
		return &execOutput{out, err, func(result *execResult) {
			result.Stdout, result.Stderr, result.Truncated = out.String(), err.String(), out.cut || err.cut
		}}, nil
	case r.outputDir != "":
		out, err := os.Create(filepath.Join(r.outputDir, thing+".out"))
		if err != nil {
			return nil, err
		}
		errs, err := os.Create(filepath.Join(r.outputDir, thing+".err"))
		if err != nil {
			_ = out.Close()
			return nil, err
		}
		return &execOutput{out, errs, func(result *execResult) {
			for _, f := range []*os.File{out, errs} {
				if err := f.Close(); err != nil && result.Error == "" {
					result.Error = err.Error()
				}
			}
		}}, nil
	}
	out := &prefixed{prefix: thing + ": ", w: r.out, lines: &r.mu, show: r.show}
	errs := &prefixed{prefix: thing + ": ", w: r.err, lines: &r.mu, show: r.show}
	return &execOutput{out, errs, func(*execResult) { out.flush(); errs.flush() }}, nil
}

// prefixed writes whole lines, with a prefix.
type prefixed struct {
	prefix string
	w      io.Writer
	lines  *sync.Mutex // one line at a time
	show   *progress

	rest []byte // of a line that has not ended
}

func (p *prefixed) Write(b []byte) (int, error) {
	n := len(b)
	p.rest = append(p.rest, b...)
	var out []byte
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if i < 0 && len(p.rest) < maxLine {
			break
		}
		line := p.rest
		if i >= 0 {
			line = p.rest[:i]
		}
		out = append(append(append(out, p.prefix...), line...), '\n')
		p.rest = p.rest[min(len(line)+1, len(p.rest)):]
	}
	return n, p.write(out)
}

func (p *prefixed) write(b []byte) (err error) {
	if len(b) == 0 {
		return nil
	}
	p.lines.Lock()
	defer p.lines.Unlock()
	p.show.aside(func() { _, err = p.w.Write(b) })
	if errors.Is(err, syscall.EPIPE) {
		return nil // the reader has left, as head does; the devices still do what they were asked to do
	}
	return err
}

func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		_ = p.write(append(append([]byte(p.prefix), p.rest...), '\n'))
		p.rest = nil
	}
}

// capture keeps the beginning of what is written to it.
type capture struct {
	bytes.Buffer

	cut bool
}

func (c *capture) Write(b []byte) (int, error) {
	n := len(b)
	if left := maxCaptured - c.Len(); n > left {
		b, c.cut = b[:left], true
	}
	_, _ = c.Buffer.Write(b)
	return n, nil
}
