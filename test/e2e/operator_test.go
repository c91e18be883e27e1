package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// operatorSite is an operator's machine: the culvert command, set up for a sandbox, with a home of its own.
type operatorSite struct {
	box  *sandbox.Sandbox
	home string
	env  []string
}

func newOperatorSite(t testing.TB, box *sandbox.Sandbox) *operatorSite {
	t.Helper()
	home := shortDir(t)
	return &operatorSite{box: box, home: home, env: cleanEnv(
		"HOME="+home, "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=thing", "AWS_REGION="+box.Region,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_ENDPOINT_URL="+box.APIURL, "AWS_CA_BUNDLE="+filepath.Join(box.Dir, "ca.pem"),
		"CULVERT_DATA_ENDPOINT="+box.RelayURL, "NO_PROXY=*", "TERM=xterm", "SHELL=/bin/sh",
		"XDG_RUNTIME_DIR="+home, "CULVERT_PERSIST=0", // each command has a tunnel of its own, unless a test says otherwise
	)}
}

// culvert returns a command of the operator.
func (o *operatorSite) culvert(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return o.command(t, culvert(t), args...)
}

func (o *operatorSite) command(t testing.TB, program string, args ...string) *exec.Cmd {
	t.Helper()
	limit := 90 * time.Second
	if _, measured := t.(*testing.B); measured {
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = o.env
	return cmd
}

// open returns the sandbox's open tunnels.
func (o *operatorSite) open() (list []tunnels.Tunnel) {
	for _, t := range o.box.Store.List("") {
		if t.Status == tunnels.Open {
			list = append(list, t)
		}
	}
	return list
}

func (o *operatorSite) allClosed(t testing.TB) {
	t.Helper()
	eventually(t, 10*time.Second, "every tunnel is closed", func() bool { return len(o.open()) == 0 })
}
