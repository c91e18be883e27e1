package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// wrapper writes a program for others to run as ssh.
func (o *operatorSite) wrapper(t *testing.T, s *sshServer) string {
	t.Helper()
	path := filepath.Join(o.home, "wrapper")
	text := "#!/bin/sh\nexec '" + culvert(t) + "' ssh --quiet " + strings.Join(s.sshFlags(), " ") + ` "$@"` + "\n"
	if err := harness.WriteProgram(path, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGitSharesATunnel(t *testing.T) {
	t.Parallel()
	git := requireProgram(t, "git")
	o, ssh := startSharingSite(t)
	dir := t.TempDir()
	env := append(o.env, "GIT_SSH_COMMAND="+o.wrapper(t, ssh), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.c", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.c")
	origin, clone := filepath.Join(dir, "origin"), filepath.Join(dir, "clone")
	for _, args := range [][]string{
		{"init", "-q", "--bare", origin},
		{"clone", "-q", ssh.user + "@pi-1:" + origin, clone},
		{"-C", clone, "commit", "-q", "--allow-empty", "-m", "first"},
		{"-C", clone, "push", "-q", "origin", "HEAD"},
		{"-C", clone, "fetch", "-q"},
	} {
		cmd := o.command(t, git, args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	if n := o.opened(); n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
}

func TestSSHFSOverAHeldTunnel(t *testing.T) {
	t.Parallel()
	sshfs, err := exec.LookPath("sshfs")
	if err != nil {
		t.Skip("sshfs is not installed")
	}
	o, ssh := startSharingSite(t)
	device, mount := t.TempDir(), t.TempDir()
	before, err := os.Stat(mount)
	if err != nil {
		t.Fatal(err)
	}
	var errs harness.Buffer
	// The test's context must not end it: the directory would stay mounted.
	cmd := exec.Command(sshfs, "-f", "-o", "ssh_command="+o.wrapper(t, ssh), ssh.user+"@pi-1:"+device, mount)
	cmd.Env, cmd.Stdout, cmd.Stderr = o.env, &errs, &errs
	p, err := harness.Start("sshfs", cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.End(syscall.SIGTERM, 10*time.Second) }) // it unmounts
	eventually(t, 30*time.Second, "the directory is mounted", func() bool {
		now, err := os.Stat(mount)
		return err == nil && !os.SameFile(before, now) || !p.Running()
	})
	if !p.Running() {
		if strings.Contains(errs.String(), "fuse") {
			t.Skipf("this machine mounts nothing: %s", errs.String())
		}
		t.Fatalf("sshfs ended: %s", errs.String())
	}
	local := filepath.Join(o.home, "file")
	sum := writeRandom(t, local, 1<<20)
	// Not written here: a program that another test starts inherits the file until it runs, and when two close a file,
	// sshfs lets only one of them wait for what is still on its way.
	if out, err := exec.Command("cp", local, mount).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	if got := sumOf(t, filepath.Join(device, "file")); string(got) != string(sum) {
		t.Error("the file arrived changed")
	}
	if _, errs, code := o.ssh(t, ssh, nil, "true"); code != 0 {
		t.Errorf("ssh beside it: exit code %d\n%s", code, errs)
	}
	if n := o.opened(); n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
}

// TestAnsibleOpensATunnelAThing runs 3 tasks on 2 things; CULVERT_ANSIBLE=10x20 runs 20 on 10, which takes minutes.
func TestAnsibleOpensATunnelAThing(t *testing.T) {
	t.Parallel()
	playbooks := requireProgram(t, "ansible-playbook")
	if !holder.Supported {
		t.Skip("this system has no holders")
	}
	things, tasks := 2, 3
	if text := os.Getenv("CULVERT_ANSIBLE"); text != "" {
		var err, err2 error
		a, b, _ := strings.Cut(text, "x")
		things, err = strconv.Atoi(a)
		tasks, err2 = strconv.Atoi(b)
		if err != nil || err2 != nil {
			t.Fatalf("CULVERT_ANSIBLE=%s is not THINGSxTASKS", text)
		}
	}
	ssh := startSSHServer(t)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": ssh.address}})
	startFleet(t, box, names(things))
	o := newOperatorSite(t, box)
	o.share(t)
	o.env = append(o.env, "CULVERT_PERSIST=10m")
	script, book := filepath.Join(o.home, "things"), filepath.Join(o.home, "book.yml")
	text := fmt.Sprintf("#!/bin/sh\nexec '%s' inventory --user '%s' 'dev-*' \"$@\"\n", culvert(t), ssh.user)
	var list strings.Builder
	list.WriteString("- hosts: all\n  gather_facts: no\n  tasks:\n")
	for i := range tasks {
		fmt.Fprintf(&list, "    - raw: echo task %d\n", i)
	}
	if err := harness.WriteProgram(script, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(book, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), playbooks, "-v", "-i", script, "-f", "10", "--ssh-extra-args", strings.Join(ssh.sshFlags(), " "), book)
	cmd.Env = append(o.env, "ANSIBLE_HOST_KEY_CHECKING=False", "ANSIBLE_SSH_ARGS=-o ControlMaster=no", "ANSIBLE_NOCOLOR=1", "ANSIBLE_STDOUT_CALLBACK=default")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("%d tasks on %d things: %v", tasks, things, time.Since(began).Round(time.Millisecond))
	if n := strings.Count(string(out), `"rc": 0`); err != nil || n != things*tasks {
		t.Errorf("%v, %d tasks succeeded, want %d\n%s", err, n, things*tasks, out)
	}
	if n := o.opened(); n != things {
		t.Errorf("%d tunnels were opened, want %d", n, things)
	}
	if n := len(o.holders(t)); n != things {
		t.Errorf("%d holders, want %d", n, things)
	}
}

// When a device loses its power, the command waits for it over the held tunnel.
func TestADeviceThatIsAwayWhileItsTunnelIsHeld(t *testing.T) {
	t.Parallel()
	if !holder.Supported {
		t.Skip("this system has no holders")
	}
	ssh := startSSHServer(t)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": ssh.address}})
	device, files := startSubscribed(t, box)
	o := newOperatorSite(t, box)
	o.share(t)
	if _, errs, code := o.ssh(t, ssh, nil, "true"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	_ = device.Cmd.Process.Kill()
	<-device.Exited
	cmd := o.culvert(t, ssh.arguments([]string{"--quiet"}, "echo back")...)
	var out, errs harness.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	p, err := harness.Start("culvert ssh", cmd)
	if err != nil {
		t.Fatal(err)
	}
	startDaemon(t, files.ConfigFile)
	if err := p.Err(); err != nil || out.String() != "back\n" {
		t.Errorf("%v, %q\n%s", err, out.String(), errs.String())
	}
	if n := o.opened(); n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
}

// The test replaces the running program's file, as package managers do.
func TestAHolderWhoseFileIsReplaced(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	program := filepath.Join(o.home, "culvert-program")
	install := func() {
		t.Helper()
		text, err := os.ReadFile(culvert(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := harness.WriteProgram(program+".new", text); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		install()
		out, errs, code := runSSH(o.command(t, program, ssh.arguments([]string{"--quiet"}, "echo", fmt.Sprint(i))...))
		if code != 0 || out != fmt.Sprintln(i) {
			t.Fatalf("run %d: exit code %d, %q\n%s", i, code, out, errs)
		}
	}
	if n := o.opened(); n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
}
