package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

type options struct {
	seed    uint64
	length  time.Duration
	race    bool
	program string // "": it is built
	log     string // of the daemon; "": in a temporary directory
	out     io.Writer
	wrap    func(net.Conn) net.Conn // breaks what reaches the targets, to see it found; nil: nothing
}

func main() { os.Exit(command(os.Args[1:], os.Stdout)) }

func command(args []string, out io.Writer) int {
	opts := options{out: out}
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(out)
	minutes := flags.Float64("minutes", 2, "how long the traffic lasts")
	flags.Uint64Var(&opts.seed, "seed", 0, "what to replay; 0 draws one")
	flags.BoolVar(&opts.race, "race", false, "run the daemon with the race detector")
	flags.StringVar(&opts.program, "culvertd", "", "the daemon's program (default: it is built)")
	flags.StringVar(&opts.log, "log", "", "keep the daemon's log in this file")
	plan := flags.Bool("plan", false, "show the faults and end")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if opts.seed == 0 {
		opts.seed = 1 + rand.Uint64N(1_000_000) //nolint:gosec // it is printed
	}
	opts.length = time.Duration(*minutes * float64(time.Minute))
	return opts.execute(*plan)
}

// execute runs the soak, or only shows its plan, and returns the exit code.
func (opts options) execute(plan bool) int {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(opts.out, format+"\n", args...) }
	again := fmt.Sprintf("replay with make soak MINUTES=%g SEED=%d", opts.length.Minutes(), opts.seed)
	say("seed %d, %v: %s", opts.seed, opts.length, again)
	if plan {
		for _, e := range schedule(opts.seed, opts.length) {
			say("%8.3f s  %v", e.at.Seconds(), e)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	r, err := soak(ctx, opts)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if len(r.ledger.violations) > 0 || err != nil {
		say("\nthe last events:")
		for _, e := range r.ledger.events {
			say("%s", e)
		}
		say("\nthe rule: no byte wrong, missing or twice; a connection ends early only where a fault was felt, and between two Culverts for none but the daemon's or the target's end; all ends and returns are bounded")
		for _, v := range r.ledger.violations {
			say("VIOLATION: %s", v)
		}
		if err != nil {
			say("error: %v", err)
		}
		say("FAILED: %s", again)
		return 1
	}
	r.summary(say)
	return 0
}

// summary describes what the run consisted of.
func (r *run) summary(say func(string, ...any)) {
	t := &r.ledger.tally
	operations := 0
	for _, n := range t.operations {
		operations += n
	}
	say("%d connections carried %.1f MB, all of it as sent; faults ended %d of them early, and %d could not begin", operations, float64(t.bytes)/1e6, t.cut, t.unmade)
	say("between two Culverts: %d connections; no fault ended one, but for %d whose daemon or target was gone",
		t.between, t.ended)
	line := ""
	for k, n := range t.operations {
		line += fmt.Sprintf("  %s %d", kind(k), n)
	}
	say("connections:%s", line)
	total := 0
	line = ""
	for _, f := range faults {
		if n := t.faults[f.name]; n > 0 {
			line += fmt.Sprintf("  %s %d", f.name, n)
			total += n
		}
	}
	say("%d faults:%s", total, line)
	if back := slices.Sorted(slices.Values(t.back)); len(back) > 0 {
		say("the device came back %d times: median %v, longest %v after the last thing stood in its way", len(back),
			back[len(back)/2].Round(time.Millisecond), back[len(back)-1].Round(time.Millisecond))
	}
	say("culvertd: %d starts; at most %.1f MB RSS, %d file descriptors, %d goroutines; at rest %d file descriptors (%d before), %d goroutines (%d before)",
		r.daemon.starts, float64(r.daemon.peak.rss)/1e3, r.daemon.peak.fds, r.daemon.goroutinePeak, r.last.fds, r.idle.fds, r.last.goroutines, r.idle.goroutines)
	say("passed: seed %d", r.opts.seed)
}
