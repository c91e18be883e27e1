package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// A stopped holder answers no command: each command goes on without it.
func TestAHolderThatIsStopped(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	if _, errs, code := o.ssh(t, ssh, nil, "true"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	pid := o.onlyHolder(t).PID
	if err := harness.Stop(pid, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	out, errs, code := o.ssh(t, ssh, nil, "echo", "alone")
	if code != 0 || out != "alone\n" || !strings.Contains(errs, "the tunnel is not shared: its background holder does not answer") {
		t.Errorf("exit code %d, %q\n%s", code, out, errs)
	}
	if n := o.opened(); n != 2 {
		t.Errorf("%d tunnels were opened, want 2", n)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := o.ssh(t, ssh, nil, "echo", "shared"); code != 0 || out != "shared\n" || o.opened() != 2 {
		t.Errorf("exit code %d, %q, %d tunnels\n%s", code, out, o.opened(), errs)
	}
}
