package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
)

// DefaultBytes are moved each way: 64 MiB.
const DefaultBytes = 64 << 20

// Config configures a run. Only Out is required.
type Config struct {
	// Culvertd is the path of the daemon. "" looks beside this program, then in PATH.
	Culvertd string
	// Bytes are moved each way, at least 1. 0 means DefaultBytes.
	Bytes int64
	// Out gets the narration.
	Out io.Writer
	// Terminal allows rewriting lines on Out, to show progress.
	Terminal bool
	// Color allows colours on Out.
	Color bool
}

// thing is the device's name.
const thing = "demo-pi"

// stepLimit bounds steps that are quick unless something is wrong.
const stepLimit = 15 * time.Second

// run is one run of the demo.
type run struct {
	*narration
	cfg   Config
	dir   string // temporary; removed at the end
	flows *flows

	targets []*target
	box     *sandbox.Sandbox
	device  sandbox.Device
	signals signals
	daemon  *daemon

	tunnel   tunnel
	operator *operator

	kept     *moving   // the flows that an event interrupts
	event    time.Time // of the last rotation or cut
	before   []int64   // bytes that each of them had moved when the device was back
	survived int       // flows that went on
	moved    int64     // bytes that arrived on them, all right
	whole    int64     // bytes of complete transfers
}

// services that the device offers. APP is a unix socket where the system has them.
var services = []string{"SSH", "HTTP", "APP"}

// errInterrupted ends the demo when its context does.
var errInterrupted = errors.New("interrupted")

// Run runs the demo to its end, or until ctx is cancelled. Its error names the step that failed and
// why, and shows the end of culvertd's log. Run leaves no process and no file behind.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Bytes < 0 {
		return fmt.Errorf("cannot move %d bytes: at least 1 is needed", cfg.Bytes)
	}
	cfg.Bytes = cmp.Or(cfg.Bytes, DefaultBytes)
	if cfg.Culvertd, err = findDaemon(cfg.Culvertd); err != nil {
		return err
	}
	r := &run{cfg: cfg, flows: newFlows(), narration: &narration{out: cfg.Out, terminal: cfg.Terminal, color: cfg.Color}}
	if r.dir, err = os.MkdirTemp("", "culvert-demo-"); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer r.cleanUp()
	started := time.Now()
	r.say(
		r.paint(bold, "Reach services on a device that accepts no connections, through a tunnel."),
		"All on this machine: the sandbox stands for AWS IoT, the device runs the real",
		"culvertd. Every figure is measured now, and every byte is checked.",
		"",
	)
	for _, s := range r.steps() {
		r.begin(s.name)
		figure, words, err := s.do(ctx)
		if err != nil {
			return r.failure(ctx, err)
		}
		r.done(figure, words)
	}
	r.say(
		"",
		r.paint(green, "All right")+fmt.Sprintf(" in %s: %s bytes sent and fetched, none wrong.", duration(time.Since(started)), count(r.whole)),
		fmt.Sprintf("The rotation and the cut interrupted %d running transfers. With Culvert at both", r.survived),
		fmt.Sprintf("ends, every one went on where it was: %s bytes, none wrong.", count(r.moved)),
	)
	return nil
}

type step struct {
	name string
	do   func(context.Context) (figure, words string, err error)
}

func (r *run) steps() []step {
	return []step{
		{"start the sandbox", r.startSandbox},
		{"start culvertd", r.startDaemon},
		{"open a tunnel", r.openTunnel},
		{"connect as operator", r.connectOperator},
		{"send to the device", func(ctx context.Context) (string, string, error) { return r.transfer(ctx, toDevice) }},
		{"fetch from it", func(ctx context.Context) (string, string, error) { return r.transfer(ctx, fromDevice) }},
		{"rotate the token", r.rotate},
		{"connect again", func(ctx context.Context) (string, string, error) { return r.again(ctx, 1) }},
		{"carry on", r.carryOn},
		{"cut the network", r.cutNetwork},
		{"connect again", func(ctx context.Context) (string, string, error) { return r.again(ctx, 2) }},
		{"carry on", r.carryOn},
		{"close the tunnel", r.closeTunnel},
		{"stop culvertd", r.stopDaemon},
	}
}

// failure makes the error that a user sees of what a step returned.
func (r *run) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		r.stopped("stopped")
		return errInterrupted
	}
	number, name := r.stopped("failed")
	var b strings.Builder
	fmt.Fprintf(&b, "step %d, %s: %v", number, name, err)
	if r.daemon != nil {
		if lines := r.daemon.tail(logTail); len(lines) > 0 {
			fmt.Fprintf(&b, "\nThe end of culvertd's log:")
			for _, l := range lines {
				b.WriteString("\n  " + l)
			}
		} else {
			b.WriteString("\nculvertd logged nothing.")
		}
	}
	return errors.New(b.String())
}

// logTail is how many lines of culvertd's log a failure shows.
const logTail = 15

// cleanUp ends everything that was started, the latest first.
func (r *run) cleanUp() {
	if r.kept != nil {
		r.kept.cancel(errInterrupted)
		<-r.kept.ended
	}
	if r.operator != nil {
		r.operator.close()
	}
	if r.daemon != nil {
		r.daemon.kill()
	}
	for _, t := range r.targets {
		t.close()
	}
	if r.box != nil {
		_ = r.box.Close()
	}
	_ = os.RemoveAll(r.dir)
}

// within bounds a wait. Its error says what was waited for.
func within(ctx context.Context, what string, wait func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, stepLimit, fmt.Errorf("not within %v: %s", stepLimit, what))
	defer cancel()
	return wait(limited)
}

// until polls done.
func until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// checkPeers fails if the sandbox or a target saw a violation.
func (r *run) checkPeers() error {
	for _, t := range r.targets {
		if err := t.complaint(); err != nil {
			return err
		}
	}
	for _, v := range r.box.Relay.Violations() {
		return fmt.Errorf("the sandbox saw a violation of the protocol: %w", &v)
	}
	return nil
}
