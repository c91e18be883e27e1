package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/culvert-iot/culvert/test/harness"
)

// binDir is where the programs under test are built.
var binDir string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "culvert-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binDir = dir
	// A shell's background job ignores these, and the programs under test would inherit that. They do not inherit a
	// handler.
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	return m.Run()
}

var (
	buildCulvertd = sync.OnceValues(func() (string, error) { return harness.Build(context.Background(), binDir, "culvertd", raceEnabled) })
	buildCulvert  = sync.OnceValues(func() (string, error) { return harness.Build(context.Background(), binDir, "culvert", raceEnabled) })
)

// culvertd returns the path of the daemon, built once a run.
func culvertd(t testing.TB) string { return built(t, buildCulvertd) }

// culvert returns the path of the operator's command, built once a run.
func culvert(t testing.TB) string { return built(t, buildCulvert) }

func built(t testing.TB, build func() (string, error)) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not in PATH: it builds the programs that this test runs")
	}
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// requireProgram returns the path of an installed program, looking also where Debian keeps servers. Without it the
// test is skipped, or fails where CULVERT_E2E=required promised that everything is there.
func requireProgram(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	missingProgram(t, name)
	return ""
}

func missingProgram(t testing.TB, name string) {
	t.Helper()
	if os.Getenv("CULVERT_E2E") == "required" {
		t.Fatalf("%s is not installed, and CULVERT_E2E=required", name)
	}
	t.Skipf("%s is not installed", name)
}

// startTyping starts a command, and returns its output and its standard input.
func startTyping(t *testing.T, cmd *exec.Cmd) (*harness.Buffer, io.Writer) {
	t.Helper()
	out := new(harness.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return out, keys
}

// cleanEnv is the environment without what would lead a program elsewhere.
var cleanEnv = harness.CleanEnv

// shortDir is a temporary directory with a path short enough for unix sockets, which have 107 bytes at most.
func shortDir(t testing.TB) string {
	t.Helper()
	// Not t.TempDir: its path holds the test's name.
	dir, err := os.MkdirTemp("", "cv-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
