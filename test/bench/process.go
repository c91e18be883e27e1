package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// patience is how long a program may take to start or to say that it is connected.
const patience = 15 * time.Second

// process is a program under measurement, or a part of the scene.
type process struct{ *harness.Process }

// start runs a program, wrapped as the place where it runs wants it.
func start(name string, argv, env []string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it is ended by signals
	// A directory without a file that the program would read by itself.
	cmd.Env, cmd.Dir = env, os.TempDir()
	p, err := harness.Start(name, cmd)
	if err != nil {
		return nil, err
	}
	return &process{p}, nil
}

// waitFor waits until the program has said text, and returns the line that has it.
func (p *process) waitFor(ctx context.Context, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	line, err := p.WaitFor(ctx, 0, text)
	if err != nil {
		return "", fmt.Errorf("%w (limit %v):\n%s", err, patience, p.Output.String())
	}
	return line, nil
}

// lastWords are what a program said last, behind whether it still runs, for an error's text.
func (p *process) lastWords() string {
	state := "runs"
	if !p.Running() {
		state = "has ended: " + p.Cmd.ProcessState.String()
	}
	said := p.Output.String()
	return fmt.Sprintf("\n  %s %s: …%s", p.Name, state, said[max(0, len(said)-600):])
}

// stop ends the program, by force if it takes its time. Nothing is measured any more.
func (p *process) stop() { _ = p.End(syscall.SIGTERM, 2*time.Second) }

// cpu is the processor time that the program has used, in seconds, to a hundredth.
func (p *process) cpu() float64 {
	used, _ := harness.ProcessorTime(p.Cmd.Process.Pid) // 0 where the kernel does not report it
	return used.Seconds()
}

// memory reads a figure of /proc/PID/file, in MB: VmHWM and VmRSS of status, Pss of smaps_rollup.
func (p *process) memory(file, field string) (float64, error) {
	kB, err := harness.Figure(p.Cmd.Process.Pid, file, field)
	return float64(kB) * 1024 / 1e6, err
}
