package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// stopLimit is how long the daemon may take to end after SIGTERM.
const stopLimit = 5 * time.Second

// eventually waits until done returns true, and fails the test after the limit.
func eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	if !poll(limit, done) {
		t.Fatalf("not within %v: %s", limit, what)
	}
}

// poll waits until done returns true; it returns false after the limit.
var poll = harness.Poll

// daemon is a running culvertd.
type daemon struct {
	config string // path of its configuration

	*harness.Process

	mu      sync.Mutex
	secrets []string
}

// startDaemon runs culvertd on a configuration: the path of a file, or, when it has several lines, the text itself,
// which is written to a directory of its own. The daemon ends with the test; if that fails, its log is shown.
func startDaemon(t testing.TB, config string, env ...string) *daemon {
	t.Helper()
	if strings.Contains(config, "\n") {
		path := filepath.Join(shortDir(t), "culvertd.toml")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		config = path
	}
	return startProgram(t, culvertd(t), config, env...)
}

// startSubscribed runs culvertd for the sandbox's first thing, and waits until tunnels can be announced to it.
func startSubscribed(t testing.TB, box *sandbox.Sandbox) (*daemon, sandbox.Device) {
	t.Helper()
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, files.ConfigFile)
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	return d, files
}

// startProgram is startDaemon with a culvertd that was built in another way.
func startProgram(t testing.TB, program, config string, env ...string) *daemon {
	t.Helper()
	return startCommand(t, config, exec.Command(program, "--config", config), env...)
}

// startCommand is startDaemon with a command that ends in culvertd --config. Its output is the daemon's log unless it has
// one of its own.
func startCommand(t testing.TB, config string, cmd *exec.Cmd, env ...string) *daemon {
	t.Helper()
	cmd.Env = cleanEnv(env...)
	p, err := harness.Start("culvertd", cmd)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{config: config, Process: p}
	t.Cleanup(func() {
		d.end(t)
		d.checkSecrets(t)
		if t.Failed() {
			t.Logf("log of culvertd:\n%s", d.log())
		}
	})
	return d
}

// end kills the process if it still runs.
func (d *daemon) end(t testing.TB) {
	if err := d.End(syscall.SIGTERM, stopLimit); err != nil {
		t.Error(err)
	}
}

// stop asks the daemon to end, as systemd does, and checks that it obeys in time with exit code 0.
func (d *daemon) stop(t testing.TB) {
	t.Helper()
	d.end(t)
	if err := d.Err(); err != nil {
		t.Errorf("culvertd after SIGTERM: %v, want exit code 0", err)
	}
}

// waitExit waits for the daemon's own end and returns its exit code.
func (d *daemon) waitExit(t testing.TB, limit time.Duration) int {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-d.Exited:
		return d.Cmd.ProcessState.ExitCode()
	case <-timer.C:
		t.Fatalf("culvertd did not end by itself within %v", limit)
		return -1
	}
}

// signal sends a signal to the daemon.
func (d *daemon) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := d.Cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal culvertd: %v", err)
	}
}

// log is everything that the daemon has logged so far.
func (d *daemon) log() string { return d.Output.String() }

// mark is the present end of the log, for waitLogFrom.
func (d *daemon) mark() int { return len(d.log()) }

// waitLog waits for a line of the log that holds substring, and returns the first such line.
func (d *daemon) waitLog(t testing.TB, substring string, limit time.Duration) string {
	t.Helper()
	return d.waitLogFrom(t, 0, substring, limit)
}

// waitLogFrom is waitLog for what was logged after a mark.
func (d *daemon) waitLogFrom(t testing.TB, mark int, substring string, limit time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	line, err := d.WaitFor(ctx, mark, substring)
	if err != nil {
		t.Fatalf("%v (limit %v)", err, limit)
	}
	return line
}

// run runs another command of culvertd on the same configuration and returns what it wrote to standard output.
func (d *daemon) run(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), culvertd(t), append(args, "--config", d.config)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = errors.New(exit.String() + ": " + strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// status asks the running daemon: culvertd status --json.
func (d *daemon) status(t testing.TB) agent.Status {
	t.Helper()
	out, err := d.run(t, "", "status", "--json")
	if err != nil {
		t.Fatalf("culvertd status: %v", err)
	}
	var s agent.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("culvertd status --json: %v\n%s", err, out)
	}
	return s
}

// hide names secrets that must never be in the log: access tokens and client tokens.
func (d *daemon) hide(secrets ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secrets = append(d.secrets, secrets...)
}

// What a token looks like: the sandbox's access tokens have 600 characters of base64url, the daemon's client tokens
// are UUIDs. Nothing else that the daemon may log has either form.
var tokenForms = []*regexp.Regexp{
	regexp.MustCompile(`[A-Za-z0-9_=-]{100}`),
	regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`),
}

// secretPrefix is how much of a token must not be shown either. Access tokens begin alike, with the first bytes of
// their message format, and differ after that.
const secretPrefix = 24

func (d *daemon) checkSecrets(t testing.TB) {
	t.Helper()
	log := d.log()
	for _, form := range tokenForms {
		if found := form.FindString(log); found != "" {
			t.Errorf("the log of culvertd holds what looks like a token: %.12s… (%d characters)", found, len(found))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.secrets {
		if s != "" && strings.Contains(log, s[:min(len(s), secretPrefix)]) {
			t.Errorf("the log of culvertd holds a token: %.12s…", s)
		}
	}
	if strings.Contains(log, "WARNING: DATA RACE") {
		t.Error("culvertd has a data race")
	}
}

// configWith copies a configuration beside itself with one text replaced, and returns the copy's path.
func configWith(t testing.TB, path, old, replacement string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), old, replacement, 1)
	if changed == string(text) {
		t.Fatalf("%s holds no %q", path, old)
	}
	path = filepath.Join(filepath.Dir(path), "changed.toml")
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
