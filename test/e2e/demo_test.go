package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// demoRun runs the built demo with the built daemon, and its temporary files in a directory of the test's own.
type demoRun struct {
	cmd            *exec.Cmd
	temp           string
	stdout, stderr harness.Buffer
}

func newDemo(t *testing.T, args ...string) *demoRun {
	t.Helper()
	r := &demoRun{temp: shortDir(t)}
	r.cmd = exec.Command(culvert(t), append([]string{"demo", "--culvertd", culvertd(t)}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.Env = &r.stdout, &r.stderr, cleanEnv("TMPDIR="+r.temp)
	return r
}

// leftovers fails the test if a file or a daemon is still there.
func (r *demoRun) leftovers(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(r.temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left behind", filepath.Join(r.temp, e.Name()))
	}
	// The daemon's command line names its configuration in the temporary directory.
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte(r.temp)) {
			t.Errorf("still running: %s", bytes.ReplaceAll(line, []byte{0}, []byte(" ")))
		}
	}
}

// demoLines are what the demo writes into a pipe.
var demoLines = []string{
	`^ 1  start the sandbox  +[\d.]+ m?s   stands for AWS IoT, on 127\.0\.0\.1$`,
	`^ 2  start culvertd  +[\d.]+ m?s   process \d+, waits for notifications$`,
	`^ 3  open a tunnel  +[\d.]+ m?s   notification to tunnel, token [0-9a-f]{8}$`,
	`^ 4  connect as operator  +[\d.]+ m?s   until SSH, HTTP and APP answered$`,
	`^ 5  send to the device  +[\d.]+ [kM]?B/s   1000\.1 KiB, 6 connections, SHA-256 equal$`,
	`^ 6  fetch from it  +[\d.]+ [kM]?B/s   1000\.1 KiB, 6 connections, SHA-256 equal$`,
	`^ 7  rotate the token  +[\d.]+ m?s   in mid-transfer, new token [0-9a-f]{8}$`,
	`^ 8  connect again  +[\d.]+ m?s   until SSH, HTTP and APP answered again$`,
	`^ 9  carry on  +[\d.]+ m?s   until all 6 transfers went on, none wrong$`,
	`^10  cut the network  +[\d.]+ m?s   in mid-transfer, same token [0-9a-f]{8}$`,
	`^11  connect again  +[\d.]+ m?s   until SSH, HTTP and APP answered again$`,
	`^12  carry on  +[\d.]+ m?s   until all 6 transfers went on, none wrong$`,
	`^13  close the tunnel  +[\d.]+ m?s   until culvertd reported its session ended$`,
	`^14  stop culvertd  +[\d.]+ m?s   after SIGTERM, exit code 0$`,
	`^All right in [\d.]+ m?s: 2,048,202 bytes sent and fetched, none wrong\.$`,
	`^The rotation and the cut interrupted 12 running transfers\.`,
	`^ends, every one went on where it was: [\d,]+ bytes, none wrong\.$`,
}

// TestTheREADMEShowsTheDemo compares the output in the README with what the demo writes, but for the amount of bytes.
func TestTheREADMEShowsTheDemo(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, found := strings.Cut(string(text), "$ make demo\n")
	shown, _, _ = strings.Cut(shown, "```")
	if !found {
		t.Fatal("the README does not show the demo")
	}
	bytes := strings.NewReplacer(`1000\.1 KiB`, `64 MiB`, `2,048,202`, `134,217,728`)
	for _, l := range demoLines {
		if !regexp.MustCompile("(?m)" + bytes.Replace(l)).MatchString(shown) {
			t.Errorf("the README's demo has no line like %s", l)
		}
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	r := newDemo(t, "--bytes", "1024101")
	if err := r.cmd.Run(); err != nil {
		t.Fatalf("culvert demo: %v\n%s%s", err, r.stdout.String(), r.stderr.String())
	}
	out := r.stdout.String()
	t.Logf("what it wrote:\n%s", out)
	lines := strings.Split(out, "\n")
	for _, l := range lines {
		if columns := len([]rune(l)); columns > 79 {
			t.Errorf("%d columns: %s", columns, l)
		}
	}
	for _, want := range demoLines {
		form := regexp.MustCompile(want)
		found := false
		for _, l := range lines {
			found = found || form.MatchString(l)
		}
		if !found {
			t.Errorf("no line of the form %s", want)
		}
	}
	if strings.ContainsAny(out, "\r\x1b") {
		t.Error("its output holds control characters, though it is not written to a terminal")
	}
	if errs := r.stderr.String(); errs != "" {
		t.Errorf("standard error: %s", errs)
	}
	for _, form := range tokenForms {
		if found := form.FindString(out); found != "" {
			t.Errorf("its output holds what looks like a token: %.12s…", found)
		}
	}
	r.leftovers(t)
}

func TestDemoWithoutDaemonSaysHowToBuildOne(t *testing.T) {
	t.Parallel()
	r := newDemo(t)
	r.cmd.Args = []string{r.cmd.Args[0], "demo", "--culvertd", "/nowhere/culvertd"}
	err := r.cmd.Run()
	if code := r.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d (%v), want 1", code, err)
	}
	if errs := r.stderr.String(); !strings.Contains(errs, "/nowhere/culvertd") || !strings.Contains(errs, "make build") {
		t.Errorf("standard error: %s", errs)
	}
	r.leftovers(t)
}

func TestDemoInterruptedCleansUp(t *testing.T) {
	t.Parallel()
	// So many bytes that it cannot end by itself.
	r := newDemo(t, "--bytes", "1000000000000")
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.cmd.Wait() }()
	if !poll(30*time.Second, func() bool { return strings.Contains(r.stdout.String(), "connect as operator") }) {
		_ = r.cmd.Process.Kill()
		t.Fatalf("it does not get as far as the transfers:\n%s", r.stdout.String())
	}
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(r.stderr.String(), "interrupted") {
			t.Errorf("%v; standard error: %s", err, r.stderr.String())
		}
	case <-time.After(10 * time.Second):
		_ = r.cmd.Process.Kill()
		t.Fatal("it does not end within 10 s of SIGINT")
	}
	r.leftovers(t)
}
