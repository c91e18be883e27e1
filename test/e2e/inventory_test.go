package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

func TestAnsibleTakesTheInventory(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	ansible, lister := requireProgram(t, "ansible"), requireProgram(t, "ansible-inventory")
	ssh := startSSHServer(t)
	box := startSandbox(t, sandbox.Config{Things: []string{"away"}, Services: map[string]string{"SSH": ssh.address}})
	startFleet(t, box, names(2))
	site := newOperatorSite(t, box)
	script := filepath.Join(site.home, "things")
	text := fmt.Sprintf("#!/bin/sh\nexec '%s' inventory --user '%s' --online \"$@\"\n", culvert(t), ssh.user)
	if err := harness.WriteProgram(script, []byte(text)); err != nil {
		t.Fatal(err)
	}
	out, code := exitCode(t, site.command(t, lister, "-i", script, "--list"))
	var got struct {
		Meta struct {
			HostVars map[string]map[string]string `json:"hostvars"`
		} `json:"_meta"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	vars := got.Meta.HostVars
	if len(vars) != 2 || vars["dev-001"]["ansible_user"] != ssh.user || !strings.Contains(vars["dev-002"]["ansible_ssh_common_args"], "--stdio") {
		t.Errorf("hosts: %v", vars)
	}
	args := strings.Join(ssh.sshFlags(), " ")
	cmd := site.command(t, ansible, "-i", script, "all", "-m", "raw", "-a", "echo reached", "--ssh-extra-args", args)
	// Its own default keeps connections, and with them the tunnels, for a minute.
	cmd.Env = append(cmd.Env, "ANSIBLE_HOST_KEY_CHECKING=False", "ANSIBLE_SSH_ARGS=-o ControlMaster=no")
	if out, code := exitCode(t, cmd); code != 0 || strings.Count(out, "reached") != 2 {
		t.Errorf("ansible ended with %d\n%s", code, out)
	}
	site.allClosed(t)
}
