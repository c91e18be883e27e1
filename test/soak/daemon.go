package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/control"
)

// daemon is the culvertd under test: a process that is killed and started again.
type daemon struct {
	program, config, logFile, socket string
	ledger                           *ledger

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // of cmd
	meant  bool          // its end
	starts int
	peak   usage

	goroutinePeak int
}

// usage is what a process holds.
type usage struct {
	rss int // kB
	fds int
}

// build builds culvertd as it ships, or with the race detector.
func build(ctx context.Context, dir string, race bool) (string, error) {
	path := filepath.Join(dir, "culvertd")
	args, cgo := []string{"build", "-trimpath", "-buildvcs=false", "-o", path}, "CGO_ENABLED=0"
	if race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/culvert-iot/culvert/cmd/culvertd")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build culvertd: %w\n%s", err, out)
	}
	return path, nil
}

func (d *daemon) start() error {
	log, err := os.OpenFile(d.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(d.program, "--config", d.config) //nolint:noctx // it is ended by signals
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOTRACEBACK=all"}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	d.mu.Lock()
	d.cmd, d.exited, d.meant = cmd, exited, false
	d.starts++
	d.mu.Unlock()
	go func() {
		err := cmd.Wait()
		d.mu.Lock()
		meant := d.meant
		d.mu.Unlock()
		if !meant {
			d.ledger.violated("culvertd ended by itself: %v", err)
		}
		close(exited)
	}()
	return nil
}

// signal sends a signal that ends the daemon, and waits for that.
func (d *daemon) signal(s os.Signal, limit time.Duration) error {
	d.mu.Lock()
	d.meant = true
	cmd, exited := d.cmd, d.exited
	d.mu.Unlock()
	_ = cmd.Process.Signal(s)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-exited:
		return nil
	case <-timer.C:
		_ = cmd.Process.Kill()
		<-exited
		return fmt.Errorf("culvertd did not end within %v of %v", limit, s)
	}
}

func (d *daemon) kill() { _ = d.signal(syscall.SIGKILL, time.Minute) }

// stop asks the daemon to end, as systemd does.
func (d *daemon) stop() {
	// 5 s is what it promises; a loaded machine may be slow.
	if err := d.signal(syscall.SIGTERM, 20*time.Second); err != nil {
		d.ledger.violated("%v", err)
	}
}

func (d *daemon) reload() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cmd.Process.Signal(syscall.SIGHUP) == nil
}

func (d *daemon) pid() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cmd.Process.Pid
}

// measure reads what the daemon holds; false while there is none.
func (d *daemon) measure() (u usage, ok bool) {
	pid := d.pid()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, false
	}
	_, rest, found := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return u, false
	}
	if u.rss, err = strconv.Atoi(fields[0]); err != nil {
		return u, false
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, false
	}
	u.fds = len(fds)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peak = usage{max(d.peak.rss, u.rss), max(d.peak.fds, u.fds)}
	return u, true
}

// status asks the daemon, and notes how many goroutines it has.
func (d *daemon) status(ctx context.Context) (s agent.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err = control.Call(ctx, d.socket, control.Request{Command: control.Status}, &s); err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.goroutinePeak = max(d.goroutinePeak, s.Goroutines)
	}
	return s, err
}

var goroutineLine = regexp.MustCompile(`(?m)^goroutine (\d+) .*\[`)

// goroutines ends the daemon in a way that makes it list its goroutines, and returns how many there were, and the list.
func (d *daemon) goroutines() (int, string, error) {
	before, err := os.ReadFile(d.logFile)
	if err != nil {
		return 0, "", err
	}
	if err := d.signal(syscall.SIGQUIT, time.Minute); err != nil {
		return 0, "", err
	}
	after, err := os.ReadFile(d.logFile)
	if err != nil {
		return 0, "", err
	}
	list := after[len(before):]
	n := 0
	for block := range bytes.SplitSeq(list, []byte("\n\n")) {
		// The runtime's own come and go: goroutine 0 is the scheduler, others collect garbage.
		if m := goroutineLine.FindSubmatch(block); m != nil && string(m[1]) != "0" && !bytes.Contains(block, []byte("created by runtime.")) {
			n++
		}
	}
	if n == 0 {
		return 0, "", errors.New("culvertd listed no goroutines at SIGQUIT")
	}
	return n, string(list), nil
}

// lastLines returns the end of the daemon's log, without the lists of goroutines.
func (d *daemon) lastLines(n int) []string {
	b, err := os.ReadFile(d.logFile)
	if err != nil {
		return []string{err.Error()}
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	lines = lines[max(0, len(lines)-n):]
	var list []string
	for _, l := range lines {
		list = append(list, string(l))
	}
	return list
}

// complaints are lines of the log that must not be there.
func (d *daemon) complaints() (list []string) {
	b, err := os.ReadFile(d.logFile)
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}
