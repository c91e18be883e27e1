package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/test/harness"
)

// daemon is the culvertd under test: a process that is killed and started again.
type daemon struct {
	program, config, logFile, socket string
	ledger                           *ledger

	mu     sync.Mutex
	now    *harness.Process
	meant  bool // its end
	starts int
	peak   usage

	goroutinePeak int
}

// usage is what a process holds.
type usage struct {
	rss int // kB
	fds int
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
	p, err := harness.Start("culvertd", cmd)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.now, d.meant = p, false
	d.starts++
	d.mu.Unlock()
	go func() {
		err := p.Err()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.now == p && !d.meant {
			d.ledger.violated("culvertd ended by itself: %v", err)
		}
	}()
	return nil
}

// signal sends a signal that ends the daemon, and waits for that.
func (d *daemon) signal(s os.Signal, limit time.Duration) error {
	d.mu.Lock()
	d.meant = true
	p := d.now
	d.mu.Unlock()
	return p.End(s, limit)
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
	return d.now.Cmd.Process.Signal(syscall.SIGHUP) == nil
}

func (d *daemon) pid() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now.Cmd.Process.Pid
}

// measure reads what the daemon holds; false while there is none.
func (d *daemon) measure() (u usage, ok bool) {
	pid := d.pid()
	var err error
	if u.rss, err = harness.Figure(pid, "status", "VmRSS"); err != nil {
		return u, false
	}
	if u.fds, err = harness.Descriptors(pid); err != nil {
		return u, false
	}
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
