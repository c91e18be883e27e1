package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/test/harness"
)

// TestATunnelThatMayNotBeClosedIsSaidOnce: it costs money, and one line about it is enough.
func TestATunnelThatMayNotBeClosedIsSaidOnce(t *testing.T) {
	t.Parallel()
	o, ssh, _ := startSSHSite(t)
	for name, args := range map[string][]string{
		"a command":       {"connect", "--new", "pi-1", "SSH", "--", "true"},
		"standard output": {"connect", "--new", "--stdio", "pi-1", "SSH"},
		"ssh":             append(append([]string{"ssh", "--new", ssh.user + "@pi-1", "--"}, ssh.sshFlags()...), "true"),
	} {
		t.Run(name, func(t *testing.T) {
			denied := api.Fault{
				Operation: "CloseTunnel", Count: 100, Status: http.StatusForbidden, Type: "AccessDeniedException",
				Message: "User: x is not authorized to perform: iot:CloseTunnel",
			}
			if err := o.box.API.Fail(denied); err != nil {
				t.Fatal(err)
			}
			defer o.box.API.ClearFaults()
			_, errs, code := runSSH(o.culvert(t, args...))
			for _, once := range []string{" is still open: ", "iot:CloseTunnel"} {
				if n := strings.Count(errs, once); n != 1 {
					t.Errorf("%q is said %d times:\n%s", once, n, errs)
				}
			}
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			for _, tunnel := range o.open() {
				if !strings.Contains(errs, "tunnel "+tunnel.ID+" is still open: ") {
					t.Errorf("tunnel %s is open, which is not said:\n%s", tunnel.ID, errs)
				}
				_ = o.box.Store.Close(tunnel.ID, true)
			}
		})
	}
}

// TestCulvertSSHWithoutCredentials: ssh, which could only say that the connection has ended, is not started.
func TestCulvertSSHWithoutCredentials(t *testing.T) {
	t.Parallel()
	o, _, _ := startSSHSite(t)
	o.env = append(o.env, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "XDG_RUNTIME_DIR="+o.home)
	started, program := filepath.Join(o.home, "started"), filepath.Join(o.home, "an-ssh")
	script := "#!/bin/sh\ncase \"$1\" in -G|-O) ;; *) echo \"$@\" >> " + started + ";; esac\nexec " + requireProgram(t, "ssh") + " \"$@\"\n"
	if err := harness.WriteProgram(program, []byte(script)); err != nil {
		t.Fatal(err)
	}
	_, errs, code := runSSH(o.culvert(t, "ssh", "--quiet", "--ssh", program, "pi-1", "true"))
	if code != 255 || !strings.HasPrefix(errs, "error: Unable to locate credentials\nhint: ") || strings.Count(errs, "\n") != 2 {
		t.Errorf("exit code %d, want 255, one error and its hint:\n%s", code, errs)
	}
	if text, err := os.ReadFile(started); err == nil {
		t.Errorf("ssh was started:\n%s", text)
	}
	if left, _ := filepath.Glob(filepath.Join(o.home, "culvert-ssh-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
