package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// findDaemon returns the path of culvertd: what was asked for, or the one beside this program, or the one in PATH.
func findDaemon(path string) (string, error) {
	const build = "build it with \"make build\", or name another with --culvertd PATH"
	if path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("%s cannot be run as culvertd: %w; %s", path, errors.Unwrap(err), build)
		}
		return found, nil
	}
	name := "culvertd"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	beside := "this program"
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			beside = self
			if found, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
				return found, nil
			}
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("there is no %s beside %s and none in PATH; %s", name, beside, build)
	}
	return found, nil
}

// daemon is culvertd as a child process.
type daemon struct {
	path, config string
	cmd          *exec.Cmd
	exited       chan struct{} // closed when the process has ended
	err          error         // of its end, after exited

	mu  sync.Mutex
	log []byte // the end of what it wrote
}

// logLimit is how much of the daemon's log is kept.
const logLimit = 64 << 10

// Write keeps what the daemon logs.
func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, p...)
	if over := len(d.log) - logLimit; over > 0 {
		d.log = slices.Delete(d.log, 0, over)
	}
	return len(p), nil
}

// tail returns the last lines of the log.
func (d *daemon) tail(n int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := strings.Split(strings.TrimRight(string(d.log), "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines[max(0, len(lines)-n):]
}

// startDaemon runs culvertd until stop or kill.
func startDaemon(path, config string) (*daemon, error) {
	d := &daemon{path: path, config: config, exited: make(chan struct{})}
	d.cmd = exec.Command(path, "--config", config) //nolint:noctx // it is stopped by a signal, in time to clean up
	d.cmd.Stdout, d.cmd.Stderr = d, d
	d.cmd.WaitDelay = time.Second
	d.cmd.Env = daemonEnv()
	detach(d.cmd)
	started := make(chan error, 1)
	go func() {
		// The kernel ends the child when the thread that started it ends: keep that thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.err = d.cmd.Wait()
		}
		close(d.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start culvertd: %w", err)
	}
	return d, nil
}

// daemonEnv is the environment without web proxies, which have no business between two programs of one machine, and
// without a supervisor, which is not this program.
func daemonEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}, strings.ToUpper(name))
	})
}

// alive returns how the daemon ended, or nil.
func (d *daemon) alive() error {
	select {
	case <-d.exited:
		if d.err != nil {
			return fmt.Errorf("culvertd ended: %w", d.err)
		}
		return errors.New("culvertd ended by itself")
	default:
		return nil
	}
}

// stop asks the daemon to end, waits, and returns how it did.
func (d *daemon) stop(ctx context.Context) error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop culvertd: %w", err)
	}
	select {
	case <-d.exited:
		return d.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// kill makes sure that the process is gone.
func (d *daemon) kill() {
	if d.alive() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := d.stop(ctx); err != nil && d.alive() == nil {
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
}

// session is a tunnel in the daemon's own words.
type session struct {
	ID       string `json:"session"` // the first 8 hex digits of the SHA-256 of its token
	State    string `json:"state"`
	Connects int    `json:"connects"`
	Reason   string `json:"reason"`
}

// sessions asks the daemon for its tunnels, as an operator would: culvertd status --json.
func (d *daemon) sessions(ctx context.Context) ([]session, error) {
	cmd := exec.CommandContext(ctx, d.path, "status", "--json", "--config", d.config)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("culvertd status: %w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	var status struct {
		Tunnels []session `json:"tunnels"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return nil, fmt.Errorf("culvertd status --json: %w", err)
	}
	return status.Tunnels, nil
}
