package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// TestTheSandboxPlaysAFleet: ls, ping and exec work on the fleet of culvert sandbox --things, with nothing but OpenSSH
// installed.
func TestTheSandboxPlaysAFleet(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	requireSSHD(t)
	dir := shortDir(t)
	cmd := exec.CommandContext(t.Context(), culvert(t), "sandbox", "--things", "10", "--dir", dir, "--shell")
	cmd.Env = cleanEnv("HOME="+dir, "TERM=xterm", "SHELL=/bin/sh", "XDG_RUNTIME_DIR="+dir, "CULVERT_PERSIST=0", "NO_PROXY=*")
	cmd.Stdin = strings.NewReader(`
culvert ls --offline --output text | cut -f1,2
culvert ls --attribute site=lisbon --query '' --output text | cut -f1,2
culvert ls --query 'attributes.site:oslo AND attributes.model:camera' --output text | cut -f1
culvert ping -q -c 1 dev-0002 >&2 && echo alive
culvert exec -q -F ` + dir + `/ssh/config --group canary -- 'echo I am $CULVERT_THING'
culvert exec -q -F ` + dir + `/ssh/config --yes 'dev-*' -- 'test $CULVERT_THING != dev-0003'
exit $?
`)
	out, errs, code := runSSH(cmd)
	if code != 1 { // of the last exec: one device fails, and one is away
		t.Errorf("exit code %d\n%s", code, errs)
	}
	for _, want := range []string{
		"fleet of 10 things, of which 9 are connected, 1 has left.\n", "culvert exec -F " + dir + "/ssh/config ",
		"dev-0010\toffline\n", "dev-0002\tonline\ndev-0005\tonline\ndev-0008\tonline\n", "dev-0003\ndev-0009\n", "alive\n", "dev-0001: I am dev-0001\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, want := range []string{"culvert: dev-0003 ended with exit code 1 ", "culvert: skipped: dev-0010 is not connected"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
	if n := strings.Count(errs, "ended with exit code"); n != 1 {
		t.Errorf("%d devices failed\n%s", n, errs)
	}
}
