package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/fleet"
	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/operator/openssh"
)

// execRun is one run of exec.
type execRun struct {
	*execOptions

	path     string // of ssh
	cfg      connect.Config
	show     *progress
	out, err *outlet

	dir  *socketDir
	list *failedList // nil: not wanted

	mu                                      sync.Mutex // for what follows
	running, done, failures, skipped, total int
	succeeded                               map[string]bool
	lost                                    error // why output was lost, at first
	began                                   time.Time
}

// prepare checks and makes what the run writes to, before anything is paid for.
func (r *execRun) prepare(names []string) (err error) {
	r.succeeded, r.began = map[string]bool{}, time.Now()
	r.cfg.Progress = nil // of many devices at once
	if !r.aws.debug {
		r.cfg.Logger = nil
	}
	if r.outputDir != "" {
		if err := checkOutput(r.outputDir, names, foldsCase); err != nil {
			return fmt.Errorf("--output-dir: %w", err)
		}
	}
	if r.failed != "" {
		if err := checkFailed(r.failed); err != nil {
			return fmt.Errorf("--failed: %w", err)
		}
	}
	r.dir, err = newSocketDir("culvert-exec-")
	return err
}

// begin is called when the user has agreed. Until then the file of --failed is as it was.
func (r *execRun) begin(names []string) (err error) {
	r.began = time.Now() // the user took a while to answer
	if r.failed != "" {
		if r.list, err = beginFailed(r.failed, names); err != nil {
			return fmt.Errorf("--failed: %w", err)
		}
	}
	return nil
}

// skipAway returns the things that are not known to be away. Of the named ones it looks whether they exist, if no device
// ever connected for them: what AWS lists needs no such question.
func (r *execRun) skipAway(ctx context.Context, names, named []string) (present []string) {
	r.total = len(names)
	if r.cfg.Presence == nil {
		return names
	}
	for _, t := range fleet.Look(ctx, existing(looker(r.cfg.Presence), r.cfg, named), names) {
		if _, missing := errors.AsType[*connect.Error](t.Err); missing {
			r.end(execResult{Thing: t.Name, State: "failed", ExitCode: -1, Error: explained(t.Err)})
			continue
		}
		if t.Err == nil && !t.State.Connected && !r.cfg.WaitForAway {
			r.end(execResult{Thing: t.Name, State: "offline", Error: t.State.Describe(t.Name, time.Now())})
			continue
		}
		present = append(present, t.Name)
	}
	return present
}

// each runs the command on things.
func (r *execRun) each(ctx context.Context, things []string) {
	fleet.Each(ctx, r.parallel, things, func(i int, thing string) {
		r.mu.Lock()
		r.running++
		r.progress()
		r.mu.Unlock()
		result := r.one(ctx, i, thing)
		r.mu.Lock()
		r.running--
		r.mu.Unlock()
		r.end(result)
	})
}

// reasonTime is how long the end of a connection may take to be explained after ssh has noticed it.
const reasonTime = 500 * time.Millisecond

// one runs the command on one thing.
func (r *execRun) one(ctx context.Context, i int, thing string) (result execResult) {
	result = execResult{Thing: thing, State: "failed", ExitCode: -1}
	began := time.Now()
	defer func() { result.Seconds = time.Since(began).Round(time.Millisecond).Seconds() }()
	out, err := r.output(thing)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	defer func() { out.finish(&result) }()
	ended := make(chan string, 1) // why the connection has ended
	t, err := r.open(ctx, thing, func(e connect.Event) {
		if e.Service == "" || e.Kind != connect.ServiceMissing && e.Kind != connect.Notice {
			return
		}
		select {
		case ended <- e.Text:
		default:
		}
	})
	if err != nil {
		result.Error = explained(err)
		return result
	}
	defer func() {
		if err := t.Close(); err != nil && result.Error == "" {
			result.Error = fmt.Sprintf("tunnel %s is still open: %s", t.ID(), explained(err))
		}
	}()
	interrupted := ctx
	ctx, stop := context.WithCancel(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer stop()
	way, err := offer(ctx, &serving, t, r.service, filepath.Join(r.dir.path, fmt.Sprint(i)))
	if err != nil {
		result.Error = err.Error()
		return result
	}
	err = r.ssh(ctx, thing, way, out)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		result.ExitCode, result.Error = exit.ExitCode(), killedBy(exit)
		if result.ExitCode == exitNoConnection {
			// ssh only says that the connection has ended.
			select {
			case result.Error = <-ended:
			case <-time.After(reasonTime):
			}
		}
	} else if err != nil {
		result.Error = err.Error()
	} else {
		result.State, result.ExitCode = "done", 0
	}
	if interrupted.Err() != nil && err != nil { // whatever ssh made of it
		result.ExitCode, result.Error = -1, explained(context.Canceled)
	}
	return result
}

// open returns a tunnel of the thing's holder, if one runs, or one of its own. It starts no holder: many devices would
// need as many processes.
// event gets what happens to it.
func (r *execRun) open(ctx context.Context, thing string, event func(connect.Event)) (tunnel, error) {
	if dir, err := holder.Directory(); holder.Supported && !r.fresh && !r.aws.debug && err == nil {
		c := &holder.Client{Thing: thing, Dir: dir, Key: r.key(thing), Version: version.Get().String()}
		t, err := c.Attach(ctx, holder.Request{
			Services: []string{r.service}, Lifetime: r.lifetime, Wait: r.wait, TakeOver: r.takeOver, Price: r.price, Away: r.cfg.WaitForAway,
		}, event)
		switch {
		case errors.Is(err, holder.ErrNone):
		case errors.Is(err, holder.ErrSilent):
			r.err.line(fmt.Sprintf("%s: the tunnel is not shared: %v", thing, err))
		default:
			return t, err
		}
	}
	cfg, others := r.cfg, r.cfg.Progress
	cfg.Progress = func(e connect.Event) {
		event(e)
		if others != nil {
			others(e)
		}
	}
	return connect.Open(ctx, cfg, thing, r.service)
}

// ssh runs the real ssh, which gets its connection by the settings in way.
func (r *execRun) ssh(ctx context.Context, thing string, way []string, out *execOutput) error {
	c := openssh.Command{Destination: thing}
	if r.user != "" {
		c.Destination = r.user + "@" + thing
	}
	if r.sshConfig != "" {
		c.Options = append(c.Options, "-F", r.sshConfig)
	}
	for _, o := range r.sshOptions {
		c.Options = append(c.Options, "-o", o)
	}
	found := openssh.Settings(ctx, r.path, c, "HostKeyAlias "+thing, "ServerAliveInterval 0")
	args := []string{"-n", "-T"}
	for _, s := range append(way, "BatchMode=yes", "ControlMaster=no", "ControlPath=none",
		"HostKeyAlias="+cmp.Or(found["hostkeyalias"], thing), "ServerAliveInterval="+cmp.Or(found["serveraliveinterval"], "0")) {
		args = append(args, "-o", s)
	}
	args = append(append(args, c.Options...), "--", c.Destination)
	cmd := exec.CommandContext(ctx, r.path, append(args, r.command...)...)
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = lingerTime // after an interrupt, since runPiped reads the pipes
	return runPiped(cmd, out.stdout, out.stderr)
}

// explained is an error and what to do about it, in one line.
func explained(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return hint.Line(operator.Explain(err))
}

// lose takes why a device's output was not written. A reader that has left, as head does, wants no more of it.
func (r *execRun) lose(err error) {
	if readerLeft(err) || errors.Is(err, errNotRead) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == nil {
		r.lost = err
	}
}

// end takes what became of a thing. It does not hold r.mu while it writes: a slow reader stops no more than it must.
func (r *execRun) end(result execResult) {
	r.mu.Lock()
	switch result.State {
	case "done":
		r.done++
		r.succeeded[result.Thing] = true
		r.list.succeeded(result.Thing)
	case "offline":
		r.skipped++
	default:
		r.failures++
	}
	r.mu.Unlock()
	if r.json {
		if err := result.print(r.out); err != nil {
			r.lose(err)
		}
	} else if !r.isQuiet || result.State != "done" || result.Error != "" {
		r.err.line(result.line())
	}
	r.mu.Lock()
	r.progress()
	r.mu.Unlock()
}

// progress shows the counts on a terminal. r.mu is held.
func (r *execRun) progress() {
	if r.show.live {
		r.show.event(connect.Event{Kind: connect.Step, Text: r.counts()})
	}
}

func (r *execRun) counts() string {
	text := fmt.Sprintf("%d of %d done, %d failed", r.done, r.total, r.failures)
	if r.running > 0 {
		text += fmt.Sprintf(", %d running", r.running)
	}
	if r.skipped > 0 {
		text += fmt.Sprintf(", %d offline skipped", r.skipped)
	}
	return text
}

// note prints a line that --quiet leaves out.
func (r *execRun) note(text string) {
	if !r.isQuiet {
		r.err.line(text)
	}
}

// sumUp writes the list of those that are still to be done, and says how it went.
func (r *execRun) sumUp(names []string) error {
	var left []string
	for _, name := range names {
		if !r.succeeded[name] {
			left = append(left, name)
		}
	}
	err := r.list.finish(left) // first: standard error may have a reader that is slow
	r.show.settle()
	r.note(fmt.Sprintf("%s, in %v", r.counts(), time.Since(r.began).Round(100*time.Millisecond)))
	if err != nil {
		return fmt.Errorf("--failed: %w", err)
	}
	return nil
}
