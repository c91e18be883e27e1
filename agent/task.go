package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// task is one part of the agent that runs as long as the agent does.
type task struct {
	name string
	// run works until ctx ends. Its error ends the agent, unless ctx had ended.
	run func(ctx context.Context) error
	// ready is closed when the task does what it is for; nil: from the start.
	ready <-chan struct{}
}

// Ready is closed when the task does what it is for.
func (t task) Ready() <-chan struct{} {
	if t.ready != nil {
		return t.ready
	}
	now := make(chan struct{})
	close(now)
	return now
}

// runTasks runs all tasks until ctx ends or one of them fails, and waits for the others for stop at most.
func runTasks(ctx context.Context, tasks []task, started func(), stop time.Duration) error {
	group, running := errgroup.WithContext(ctx)
	var mu sync.Mutex
	var left []string
	for _, t := range tasks {
		left = append(left, t.name)
	}
	for _, t := range tasks {
		group.Go(func() error {
			err := t.run(running)
			mu.Lock()
			left = slices.DeleteFunc(left, func(name string) bool { return name == t.name })
			mu.Unlock()
			return err
		})
	}
	if started != nil {
		started()
	}
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-running.Done():
	}
	// The tasks bound themselves; this holds if one of them is wrong about that.
	limit := time.NewTimer(stop)
	defer limit.Stop()
	select {
	case err := <-ended:
		return err
	case <-limit.C:
		mu.Lock()
		defer mu.Unlock()
		return fmt.Errorf("not everything has stopped within %v: %s", stop, strings.Join(left, ", "))
	}
}

// unlessStopped drops the error of a task that was told to end.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it only says that ctx has ended
	}
	return err
}

// untilDone makes a task of a function that ends with its context only.
func untilDone(run func(ctx context.Context)) func(context.Context) error {
	return func(ctx context.Context) error {
		run(ctx)
		return nil
	}
}
