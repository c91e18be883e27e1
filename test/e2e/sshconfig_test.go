package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/test/harness"
)

// TestSSHConfig lets programs that know nothing of Culvert reach a device by its name.
func TestSSHConfig(t *testing.T) {
	t.Parallel()
	o, ssh, _ := startSSHSite(t)
	out, errs, code := runSSH(o.culvert(t, "ssh-config", "--quiet", "--user", ssh.user, "pi-1"))
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	config := filepath.Join(o.home, "config")
	text := out + fmt.Sprintf("    IdentityFile %s/client\n    IdentitiesOnly yes\n    StrictHostKeyChecking accept-new\n"+
		"    UserKnownHostsFile %[1]s/known_hosts\n    BatchMode yes\n    LogLevel ERROR\n", ssh.dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Run("scp", func(t *testing.T) {
		scp := requireProgram(t, "scp")
		sum := writeRandom(t, filepath.Join(dir, "a"), 8<<20)
		for _, step := range [][2]string{{filepath.Join(dir, "a"), "pi-1:" + filepath.Join(dir, "b")}, {"pi-1:" + filepath.Join(dir, "b"), filepath.Join(dir, "c")}} {
			if _, errs, code := runSSH(o.command(t, scp, "-F", config, "-q", step[0], step[1])); code != 0 {
				t.Fatalf("exit code %d\n%s", code, errs)
			}
		}
		if !bytes.Equal(sumOf(t, filepath.Join(dir, "c")), sum) {
			t.Error("the file came back changed")
		}
	})
	t.Run("git clone", func(t *testing.T) {
		git := requireProgram(t, "git")
		origin := filepath.Join(dir, "origin")
		for _, args := range [][]string{
			{"init", "-q", origin},
			{"-C", origin, "-c", "user.name=a", "-c", "user.email=a@b.test", "commit", "-q", "--allow-empty", "-m", "over the culvert"},
		} {
			if _, errs, code := runSSH(o.command(t, git, args...)); code != 0 {
				t.Fatalf("git %v: exit code %d\n%s", args, code, errs)
			}
		}
		cmd := o.command(t, git, "clone", "-q", "pi-1:"+origin, filepath.Join(dir, "clone"))
		cmd.Env = append(cmd.Env, "GIT_SSH_COMMAND=ssh -F "+config)
		if _, errs, code := runSSH(cmd); code != 0 {
			t.Fatalf("exit code %d\n%s", code, errs)
		}
		if out, _, _ := runSSH(o.command(t, git, "-C", filepath.Join(dir, "clone"), "log", "--format=%s")); out != "over the culvert\n" {
			t.Errorf("log of the clone: %q", out)
		}
	})
	t.Run("rsync", func(t *testing.T) {
		rsync := requireProgram(t, "rsync")
		sum := writeRandom(t, filepath.Join(dir, "r"), 1<<20)
		if _, errs, code := runSSH(o.command(t, rsync, "--rsync-path="+rsync, "-e", "ssh -F "+config, filepath.Join(dir, "r"), "pi-1:"+filepath.Join(dir, "s"))); code != 0 {
			t.Fatalf("exit code %d\n%s", code, errs)
		}
		if !bytes.Equal(sumOf(t, filepath.Join(dir, "s")), sum) {
			t.Error("the file arrived changed")
		}
	})
	t.Run("a pipe whose input ends first", func(t *testing.T) {
		cmd := o.command(t, "ssh", "-F", config, "pi-1", "sort")
		cmd.Stdin = strings.NewReader("b\na\n")
		if out, errs, code := runSSH(cmd); code != 0 || out != "a\nb\n" {
			t.Errorf("exit code %d, %q\n%s", code, out, errs)
		}
	})
	t.Run("a shared connection", func(t *testing.T) {
		o.allClosed(t)
		master := []string{"-F", config, "-o", "ControlMaster=auto", "-o", "ControlPath=" + filepath.Join(o.home, "mux"), "-o", "ControlPersist=60"}
		for range 2 {
			cmd := o.command(t, "ssh", append(slices.Clone(master), "pi-1", "echo hello")...)
			cmd.Stdin = nil
			out, err := os.Create(filepath.Join(o.home, "out")) // the master stays, and would hold a pipe open
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Run(); err != nil {
				t.Errorf("ssh: %v", err)
			}
			_ = out.Close()
			if text, _ := os.ReadFile(out.Name()); string(text) != "hello\n" {
				t.Errorf("output %q", text)
			}
			if list := o.open(); len(list) != 1 {
				t.Errorf("%d tunnels are open, want the one that is shared", len(list))
			}
		}
		if _, errs, code := runSSH(o.command(t, "ssh", append(master, "-O", "exit", "pi-1")...)); code != 0 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	t.Run("Ctrl-C closes the tunnel", func(t *testing.T) {
		o.allClosed(t)
		cmd := o.command(t, "ssh", "-F", config, "pi-1", "echo begun; sleep 60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's interrupt goes to the whole group
		var out harness.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "the remote command runs", func() bool { return strings.Contains(out.String(), "begun") })
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		_ = cmd.Wait()
		o.allClosed(t)
	})
	o.allClosed(t)
}
