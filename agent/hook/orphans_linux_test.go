package hook

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/internal/settings"
)

// TestProcess1LeavesNoZombies has this process inherit orphans, as process 1 of a container does.
func TestProcess1LeavesNoZombies(t *testing.T) {
	needShell(t)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	before := orphans
	orphans = &reaper{init: true}
	t.Cleanup(func() {
		orphans = before
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	})
	r, _ := start(t, settings.Hooks{Command: []string{"/bin/sh", "-c", "sleep 0.2 & sleep 0.01 & exit 0"}, Timeout: 10 * time.Second}, nil)
	for range 3 {
		r.Tell(Event{Name: "tunnel_opened"})
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		s, _ := r.Status()
		if s.Run == 3 && len(children(t)) == 0 {
			if s.Failed != 0 {
				t.Errorf("%+v", s)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, children left: %v", s, children(t))
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestTheReaperLeavesACommandItsExitCode(t *testing.T) {
	needShell(t)
	before := orphans
	orphans = &reaper{init: true}
	defer func() { orphans = before }()
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { orphans.watch(ctx) })
	for range 20 {
		err := runCommand(ctx, settings.Hooks{Command: []string{"/bin/sh", "-c", "exit 7"}, Timeout: 10 * time.Second}, Event{Name: "x"})
		if err == nil || !strings.Contains(err.Error(), "exit status 7") {
			t.Errorf("error %v", err)
		}
	}
	cancel()
	watch.Wait()
}

// children lists this process's children, zombies included.
func children(t *testing.T) []string {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip(err)
	}
	var list []string
	for _, task := range tasks {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%s/children", task.Name()))
		list = append(list, strings.Fields(string(data))...)
	}
	return list
}
