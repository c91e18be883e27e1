package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAMasterInTheBackgroundKeepsNoPipeOpen: what runs ssh, such as Ansible, reads standard error to its end.
func TestAMasterInTheBackgroundKeepsNoPipeOpen(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	options := []string{"-o", "ControlMaster=auto", "-o", "ControlPath=" + filepath.Join(o.home, "m"), "-o", "ControlPersist=300"}
	run := func(rest ...string) (string, error) {
		args := append(append([]string{"ssh"}, ssh.sshFlags()...), options...)
		out, err := o.culvert(t, append(args, rest...)...).CombinedOutput()
		return string(out), err
	}
	began := time.Now()
	out, err := run(ssh.user+"@pi-1", "echo", "hello")
	if took := time.Since(began); err != nil || !strings.Contains(out, "hello") || took > 30*time.Second {
		t.Errorf("%v after %v\n%s", err, took, out)
	}
	if out, err := run("-O", "exit", ssh.user+"@pi-1"); err != nil {
		t.Errorf("no master was there: %v\n%s", err, out)
	}
}
