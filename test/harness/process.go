package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Process is a running program.
type Process struct {
	Name   string
	Cmd    *exec.Cmd
	Output Buffer        // standard output and error, unless the command has places of its own for them
	Exited chan struct{} // closed when the process has ended
	err    error
}

// Start starts a command.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, Cmd: cmd, Exited: make(chan struct{})}
	if cmd.Stdout == nil && cmd.Stderr == nil {
		cmd.Stdout, cmd.Stderr = &p.Output, &p.Output
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.Exited)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.Exited:
		return false
	default:
		return true
	}
}

// Err waits for the process and returns how it ended, as [exec.Cmd.Wait] does.
func (p *Process) Err() error {
	<-p.Exited
	return p.err
}

// End sends a signal and waits until the process has ended. One that takes longer than limit is
// killed, which is an error.
func (p *Process) End(sig os.Signal, limit time.Duration) error {
	if !p.Running() {
		return nil
	}
	_ = p.Cmd.Process.Signal(sig)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.Exited:
		return nil
	case <-timer.C:
		_ = p.Cmd.Process.Kill()
		<-p.Exited
		return fmt.Errorf("%s did not end within %v of the signal %v", p.Name, limit, sig)
	}
}

// WaitFor waits until the output from a position on has a whole line that holds text, and returns it.
func (p *Process) WaitFor(ctx context.Context, from int, text string) (string, error) {
	for {
		more, running := p.Output.changed(), p.Running()
		for line := range strings.Lines(p.Output.String()[from:]) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return strings.TrimSuffix(line, "\n"), nil
			}
		}
		if !running {
			return "", fmt.Errorf("%s ended (%v) without saying %q", p.Name, p.Err(), text) //nolint:errorlint // it may be nil
		}
		select {
		case <-more:
		case <-p.Exited:
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not say %q in time", p.Name, text)
		}
	}
}

// Buffer collects what a process writes while others read it. The zero value is ready.
type Buffer struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed at the next write, nil without a waiter
}

// Write appends to the buffer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
	return b.buf.Write(p)
}

// String returns everything that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *Buffer) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more == nil {
		b.more = make(chan struct{})
	}
	return b.more
}

// Poll waits until done reports true. It reports false when that takes longer than limit.
func Poll(limit time.Duration, done func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return done()
		}
	}
	return true
}
