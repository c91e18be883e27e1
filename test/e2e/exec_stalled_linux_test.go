package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-iot/culvert/test/harness"
)

// TestExecEndsWithoutItsReader: after Ctrl-C, a reader that takes nothing does not keep exec from its end.
func TestExecEndsWithoutItsReader(t *testing.T) {
	t.Parallel()
	for name, both := range map[string]bool{"of standard output": false, "of standard output and standard error": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endsWithoutItsReader(t, both)
		})
	}
}

// endsWithoutItsReader runs exec with a reader of its standard output that takes nothing. both says that it is the one of
// standard error, too.
func endsWithoutItsReader(t *testing.T, both bool) {
	site := startPlainFleet(t, 2)
	todo := filepath.Join(t.TempDir(), "todo")
	cmd := site.culvert(t, "exec", "--ssh", fakeSSH(t, "exec yes"), "--yes", "--failed", todo, "dev-00*", "--", "true")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var errs harness.Buffer
	cmd.Stdout, cmd.Stderr = writer, &errs
	if both {
		cmd.Stderr = writer
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	fd, last := int(reader.Fd()), 0
	eventually(t, 60*time.Second, "both run and nothing more fits", func() bool {
		waiting, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		full := waiting > 0 && waiting == last && len(site.open()) == 2
		last = waiting
		return full
	})
	_ = cmd.Process.Signal(os.Interrupt)
	select {
	case <-ended:
	case <-time.After(45 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d", code)
	}
	if said := errs.String(); !both && (strings.Count(said, " s: interrupted\n") != 2 || !strings.HasSuffix(said, "\nerror: interrupted\n")) {
		t.Errorf("standard error: %s", said)
	}
	if left := readText(t, todo); left != "dev-001\ndev-002\n" {
		t.Errorf("left to do: %q", left)
	}
	site.allClosed(t)
}
