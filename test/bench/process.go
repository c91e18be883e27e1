package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a program may take to start or to say that it is connected.
const patience = 15 * time.Second

// process is a program under measurement, or a part of the scene.
type process struct {
	cmd    *exec.Cmd
	name   string
	exited chan struct{}

	mu   sync.Mutex
	said bytes.Buffer // standard output and error
	more chan struct{}
}

// start runs a program, wrapped as the place where it runs wants it.
func start(name string, argv, env []string) (*process, error) {
	p := &process{name: name, exited: make(chan struct{}), more: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...) //nolint:noctx // it is ended by signals
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p, p
	// A directory without a file that the program would read by itself.
	p.cmd.Dir = os.TempDir()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Write takes what the program says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said.Len() < 1<<20 {
		p.said.Write(b)
	}
	close(p.more)
	p.more = make(chan struct{})
	return len(b), nil
}

// waitFor waits until the program has said text, and returns the line that has it.
func (p *process) waitFor(ctx context.Context, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		p.mu.Lock()
		said, more := p.said.String(), p.more
		p.mu.Unlock()
		if at := strings.Index(said, text); at >= 0 && strings.Contains(said[at:], "\n") {
			line, _, _ := strings.Cut(said[strings.LastIndexByte(said[:at], '\n')+1:], "\n")
			return line, nil
		}
		select {
		case <-more:
		case <-p.exited:
			return "", fmt.Errorf("%s ended before it said %q:\n%s", p.name, text, said)
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not say %q within %v:\n%s", p.name, text, patience, said)
		}
	}
}

// running tells whether the program has not ended.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// lastWords are what a program said last, behind whether it still runs, for an error's text.
func (p *process) lastWords() string {
	state := "runs"
	if !p.running() {
		state = "has ended: " + p.cmd.ProcessState.String()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	said := p.said.Bytes()
	return fmt.Sprintf("\n  %s %s: …%s", p.name, state, said[max(0, len(said)-600):])
}

// stop ends the program, by force if it takes its time. Nothing is measured any more.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(2 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// cpu is the processor time that the program has used, in seconds, to a hundredth.
func (p *process) cpu() float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// proc_pid_stat(5): fields 14 and 15, counted behind the name, which ends with the last bracket.
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var user, system float64
	if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil {
		return 0
	}
	return (user + system) / 100
}

var errNoFigure = errors.New("the kernel does not tell")

// memory reads a figure of /proc/PID/file, in MB: VmHWM and VmRSS of status, Pss of smaps_rollup.
func (p *process) memory(file, field string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			var kB float64
			if _, err := fmt.Sscan(rest, &kB); err != nil {
				return 0, err
			}
			return kB * 1024 / 1e6, nil
		}
	}
	return 0, errNoFigure
}
