package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/settings"
	"github.com/culvert-iot/culvert/internal/trust"
)

const (
	// maxOutput bounds what is kept of a command's output, in bytes, for the log of its failure.
	maxOutput = 256
	// waitDelay is how long the output of a command that has ended is still waited for: what it left running, or a
	// process that left the group of a killed one, may hold it open.
	waitDelay = time.Second
	// path is the commands' PATH. Nothing of the daemon's own environment is handed on: it may hold the
	// password of a web proxy.
	path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// runCommand runs one command to its end or to its timeout.
func runCommand(ctx context.Context, cfg settings.Hooks, e Event) error {
	name := cfg.Command[0]
	if err := trust.Command(cfg.Command); err != nil { // each time: it may have been changed since
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, cfg.Command[1:]...)
	cmd.Env = append([]string{path, "CULVERT_EVENT=" + e.Name}, e.Facts...)
	cmd.Dir = "/"
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = waitDelay
	ownGroup(cmd)
	err := orphans.run(cmd)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s was killed, it took longer than %v (hooks.timeout)%s", name, cfg.Timeout, out.said())
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it ended well; what it has left running keeps the output open
	case cmd.Process == nil && err != nil:
		return hint.Wrap(fmt.Errorf("%s: %w", name, err), cannotStart(name, err))
	case err != nil:
		return fmt.Errorf("%s: %w%s", name, err, out.said())
	}
	return nil
}

// output keeps the beginning of what is written and drops the rest.
type output struct{ b bytes.Buffer }

func (o *output) Write(p []byte) (int, error) {
	o.b.Write(p[:min(len(p), maxOutput-o.b.Len())])
	return len(p), nil
}

// said is the first line of the output, fit for a log.
func (o *output) said() string {
	line, _, _ := strings.Cut(strings.TrimSpace(o.b.String()), "\n")
	if line = clean.Line(line, maxOutput); line == "" {
		return ""
	}
	return ": " + line
}
