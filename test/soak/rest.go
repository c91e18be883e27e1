package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/agent/session"
)

// baseline measures the daemon with all tunnels up and no connection, and lists its goroutines, which ends it.
func (r *run) baseline(ctx context.Context) (err error) {
	if !r.await(ctx, "the daemon has its tunnels", func() bool { return r.daemonAtRest(ctx) }) {
		return nil
	}
	r.idle.usage, _ = r.daemon.measure()
	defer r.ledger.dies()()
	for i, t := range r.tunnels {
		defer r.ledger.disturb(i, "list of goroutines")()
		t.expectDevice(time.Now())
	}
	if r.idle.goroutines, _, err = r.daemon.goroutines(); err != nil {
		return err
	}
	return r.daemon.start()
}

// daemonAtRest reports whether the daemon has its tunnels and nothing else.
func (r *run) daemonAtRest(ctx context.Context) bool {
	status, err := r.daemon.status(ctx)
	live, connections := 0, 0
	var left []string
	for _, t := range status.Tunnels {
		if t.State != session.Ended {
			live++
			left = append(left, fmt.Sprintf("tunnel %s %s %q", t.Session, t.State, t.LastError))
		}
	}
	for _, s := range status.Services {
		connections += s.Connections
		if s.Connections > 0 {
			left = append(left, fmt.Sprintf("%s: %d connections", s.Service, s.Connections))
		}
	}
	if err != nil {
		left = append(left, err.Error())
	}
	r.left = strings.Join(left, "; ")
	return err == nil && live == len(r.tunnels) && connections == 0
}

// atRest compares the daemon with what it was before the traffic.
func (r *run) atRest(ctx context.Context) error {
	// Sessions of tokens that were rotated away learn of it at their next attempt.
	r.await(ctx, "the daemon has no tunnels but those that are open, and no connections", func() bool { return r.daemonAtRest(ctx) })
	r.ledger.note("culvertd has %s", r.left)
	const slack = 2 // a lookup, a status request
	r.await(ctx, "the daemon's file descriptors are as few as before", func() bool {
		r.last.usage, _ = r.daemon.measure()
		return r.last.fds > 0 && r.last.fds <= r.idle.fds+slack
	})
	r.ledger.note("at rest: %d file descriptors, %d before", r.last.fds, r.idle.fds)
	for i := range r.tunnels {
		defer r.ledger.disturb(i, "list of goroutines")()
	}
	n, list, err := r.daemon.goroutines()
	if err != nil {
		return err
	}
	r.last.goroutines = n
	if n > r.idle.goroutines+slack {
		r.ledger.violated("culvertd has %d goroutines at rest, before it had %d:\n%s", n, r.idle.goroutines, list)
	}
	for _, line := range r.daemon.complaints() {
		r.ledger.violated("culvertd logs: %s", line)
	}
	return nil
}

// checkOwnGoroutines finds what the operator's side left behind, which runs in this process.
func (r *run) checkOwnGoroutines(before int) {
	const slack = 10 // idle connections of the HTTP client
	limit, cancel := context.WithTimeout(context.Background(), 20*s)
	defer cancel()
	for runtime.NumGoroutine() > before+slack {
		if !pause(limit, 50*ms) {
			b := make([]byte, 1<<20)
			b = b[:runtime.Stack(b, true)]
			r.ledger.violated("%d goroutines are left of the operator's side, before there were %d:\n%s", runtime.NumGoroutine(), before, b)
			return
		}
	}
}
