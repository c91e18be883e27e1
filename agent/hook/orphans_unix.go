//go:build unix

package hook

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// orphans are the processes that commands have left behind. The system gives them to process 1, which must wait
// for each that ends, or they stay as zombies. culvertd is process 1 in a container without an init.
var orphans = &reaper{init: os.Getpid() == 1}

type reaper struct {
	init bool
	mu   sync.Mutex // held while a command runs: its own exit is not to be taken
}

// run is cmd.Run.
func (r *reaper) run(cmd *exec.Cmd) error {
	if !r.init {
		return cmd.Run()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := cmd.Run()
	reap()
	return err
}

// watch waits for orphans until ctx ends.
func (r *reaper) watch(ctx context.Context) {
	if !r.init {
		return
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		select {
		case <-ended:
			r.mu.Lock()
			reap()
			r.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// reap takes the exit of every child that has ended.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
