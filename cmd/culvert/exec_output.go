package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/culvert-iot/culvert/internal/clean"
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
	ExitCode  int     `json:"exit_code"` // of ssh; -1 if it did not run to its end
	Seconds   float64 `json:"seconds"`
	Error     string  `json:"error,omitempty"`
	Stdout    string  `json:"stdout,omitempty"`
	Stderr    string  `json:"stderr,omitempty"`
	Truncated bool    `json:"truncated,omitempty"` // Stdout or Stderr is its beginning only
}

// print writes the result in a line that no terminal obeys, whatever the device printed.
func (r *execResult) print(w io.Writer) error {
	if r.State == "offline" {
		r.ExitCode = -1
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = w.Write(append(clean.JSON(line), '\n'))
	return err
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
	stdout, stderr io.Writer // writes to them do not fail: the device does what it was asked to do
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
		out, err := createOutput(r.outputDir, thing, ".out")
		if err != nil {
			return nil, err
		}
		errs, err := createOutput(r.outputDir, thing, ".err")
		if err != nil {
			_ = out.close()
			return nil, err
		}
		return &execOutput{out, errs, func(result *execResult) {
			for _, f := range []*outputFile{out, errs} {
				if err := f.close(); err != nil {
					r.lose(err)
					result.Error = cmp.Or(result.Error, "its output is incomplete: "+err.Error())
				}
			}
		}}, nil
	}
	out := &prefixed{prefix: thing + ": ", w: r.out, forTerminal: r.out.isTerminal, lost: r.lose}
	errs := &prefixed{prefix: thing + ": ", w: r.err, forTerminal: r.err.isTerminal, lost: r.lose}
	return &execOutput{out, errs, func(*execResult) { out.flush(); errs.flush() }}, nil
}

// prefixed writes whole lines, with a prefix. For a terminal, a carriage return ends a line as well, and what does not
// print is replaced: a device must not write over the prefix, nor over what others printed.
type prefixed struct {
	prefix      string
	w           io.Writer
	forTerminal bool
	lost        func(error)

	rest     []byte // of a line that has not ended
	returned bool   // the line before ended with a carriage return
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	var out []byte
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if p.forTerminal {
			i = bytes.IndexAny(p.rest, "\r\n")
		}
		if i < 0 && len(p.rest) < maxLine {
			break
		}
		line, end := p.rest, byte('\n')
		if i >= 0 {
			line, end = p.rest[:i], p.rest[i]
		}
		p.rest = p.rest[min(len(line)+1, len(p.rest)):]
		switch {
		case len(line) == 0 && end == '\r':
			continue // nothing would be written over
		case len(line) > 0 || !p.returned: // else this is the line feed behind a carriage return
			out = p.add(out, line)
		}
		p.returned = end == '\r'
	}
	p.write(out)
	return len(b), nil
}

// add appends a line to out.
func (p *prefixed) add(out, line []byte) []byte {
	out = append(out, p.prefix...)
	if !p.forTerminal {
		return append(append(out, line...), '\n')
	}
	for i, part := range strings.Split(string(line), "\t") {
		if i > 0 {
			out = append(out, '\t')
		}
		out = append(out, clean.Text(part, 0)...)
	}
	return append(out, '\n')
}

func (p *prefixed) write(b []byte) {
	if len(b) > 0 {
		if _, err := p.w.Write(b); err != nil {
			p.lost(err)
		}
	}
}

func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		p.write(p.add(nil, p.rest))
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
