package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// TestCulvertSSHInThePlaceOfSSH has other programs run culvert ssh as they run ssh.
func TestCulvertSSHInThePlaceOfSSH(t *testing.T) {
	t.Parallel()
	o, ssh, _ := startSSHSite(t)
	o.env = append(o.env, "XDG_RUNTIME_DIR="+o.home)
	dir := t.TempDir()
	config := filepath.Join(o.home, "config")
	text := fmt.Sprintf("Host pi-1\n  HostKeyAlias fleet\nHost *\n  User %s\n  IdentityFile %s/client\n  IdentitiesOnly yes\n"+
		"  StrictHostKeyChecking accept-new\n  UserKnownHostsFile %[2]s/known_hosts\n  BatchMode yes\n", ssh.user, ssh.dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	line := culvert(t) + " ssh -q -F " + config
	wrapper := filepath.Join(o.home, "wrapper")
	if err := harness.WriteProgram(wrapper, []byte("#!/bin/sh\nexec "+culvert(t)+" ssh \"$@\"\n")); err != nil {
		t.Fatal(err)
	}
	sum := writeRandom(t, filepath.Join(dir, "a"), 1<<20)
	arrived := func(t *testing.T, name string) {
		t.Helper()
		if !bytes.Equal(sumOf(t, filepath.Join(dir, name)), sum) {
			t.Error("the file arrived changed")
		}
	}

	t.Run("options before and after the thing", func(t *testing.T) {
		out, errs, code := runSSH(o.culvert(t, "ssh", "-q", "-F", config, "--lifetime", "1h", "-l", ssh.user, "pi-1", "-o", "SendEnv=X", "echo", "hello", "-v"))
		if code != 0 || out != "hello -v\n" || errs != "" {
			t.Errorf("exit code %d, %q, %q", code, out, errs)
		}
	})
	t.Run("the user's HostKeyAlias holds", func(t *testing.T) {
		hosts, err := os.ReadFile(filepath.Join(ssh.dir, "known_hosts"))
		if err != nil || !strings.HasPrefix(string(hosts), "fleet ") {
			t.Errorf("known hosts: %v\n%s", err, hosts)
		}
	})
	t.Run("compression is on", func(t *testing.T) {
		for want, args := range map[string][]string{"compression yes": nil, "compression no": {"-o", "Compression=no"}} {
			out, errs, code := runSSH(o.culvert(t, append(append([]string{"ssh", "-G", "-F", config}, args...), "pi-1")...))
			if code != 0 || !strings.Contains(out, want+"\n") || !strings.Contains(out, "hostkeyalias fleet\n") {
				t.Errorf("no %q: exit code %d, %s", want, code, errs)
			}
		}
	})
	t.Run("rsync", func(t *testing.T) {
		rsync := requireProgram(t, "rsync")
		if _, errs, code := runSSH(o.command(t, rsync, "--rsync-path="+rsync, "-e", line, filepath.Join(dir, "a"), ssh.user+"@pi-1:"+filepath.Join(dir, "r"))); code != 0 {
			t.Fatalf("exit code %d\n%s", code, errs)
		}
		arrived(t, "r")
	})
	t.Run("scp", func(t *testing.T) {
		if _, errs, code := runSSH(o.command(t, requireProgram(t, "scp"), "-q", "-S", wrapper, "-F", config, filepath.Join(dir, "a"), "pi-1:"+filepath.Join(dir, "s"))); code != 0 {
			t.Fatalf("exit code %d\n%s", code, errs)
		}
		arrived(t, "s")
	})
	t.Run("git", func(t *testing.T) {
		git, origin := requireProgram(t, "git"), filepath.Join(dir, "origin")
		if _, errs, code := runSSH(o.command(t, git, "init", "-q", "--bare", origin)); code != 0 {
			t.Fatal(errs)
		}
		cmd := o.command(t, git, "ls-remote", "pi-1:"+origin)
		cmd.Env = append(cmd.Env, "GIT_SSH_COMMAND="+line)
		if _, errs, code := runSSH(cmd); code != 0 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	t.Run("what fails before ssh is said by culvert alone", func(t *testing.T) {
		_, noRegion, code := runSSH(o.culvert(t, "ssh", "--quiet", "--region", "x y", "pi-1", "true"))
		_, offline, code2 := runSSH(o.culvert(t, "ssh", "--quiet", "--wait", "1s", "nobody", "true"))
		if code != 255 || code2 != 255 {
			t.Errorf("exit codes %d and %d, want ssh's 255", code, code2)
		}
		for _, errs := range []string{noRegion, offline} {
			if n := strings.Count(errs, "\n"); n > 2 || !strings.HasPrefix(errs, "error: ") || strings.Contains(errs, "kex_exchange") {
				t.Errorf("not one line and a hint:\n%s", errs)
			}
		}
	})
	t.Run("an option that ssh does not have costs no tunnel", func(t *testing.T) {
		before := len(o.box.Store.List(""))
		if _, errs, code := runSSH(o.culvert(t, "ssh", "-Z", "pi-1")); code != 255 || !strings.Contains(errs, "usage: ssh") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
		if n := len(o.box.Store.List("")); n != before {
			t.Errorf("%d tunnels were opened", n-before)
		}
	})
	o.allClosed(t)
	for name, tt := range map[string]struct {
		end  func()
		want string
	}{
		"the link":   {func() { o.box.Relay.Faults().Cut(relay.Target{Side: tunnels.Source}) }, "was lost, and the connection with it"},
		"the device": {func() { o.box.Relay.Faults().Cut(relay.Target{Side: tunnels.Destination}) }, "pi-1 has left the tunnel"},
		"the tunnel": {func() { _ = o.box.Store.Close(o.open()[0].ID, false) }, "was closed or has expired"},
	} {
		t.Run(name+" is lost, and culvert says so before ssh does", func(t *testing.T) {
			cmd := o.culvert(t, "ssh", "--quiet", "--resume-timeout", "0s", "-F", config, "pi-1", "echo begun; sleep 60")
			var out, errs harness.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, 20*time.Second, "the remote command runs", func() bool { return strings.Contains(out.String(), "begun") })
			tt.end()
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 255 || !strings.HasPrefix(errs.String(), "error: ") || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("exit code %d, want 255 and %q first:\n%s", code, tt.want, errs.String())
			}
			o.allClosed(t)
		})
	}
	if left, _ := filepath.Glob(filepath.Join(o.home, "culvert-ssh-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSignalsOfConnect: what a shell's nohup ignores stays ignored, and Ctrl-\ leaves no tunnel open.
func TestSignalsOfConnect(t *testing.T) {
	t.Parallel()
	o, _, _ := startSSHSite(t)
	start := func(t *testing.T, script string) (stop func(syscall.Signal), ended chan error) {
		t.Helper()
		cmd := o.command(t, "/bin/sh", "-c", script+"exec "+culvert(t)+" connect --quiet pi-1")
		var out harness.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended = make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		eventually(t, 20*time.Second, "it listens", func() bool { return strings.HasPrefix(out.String(), "SSH 127.0.0.1:") })
		return func(s syscall.Signal) { _ = cmd.Process.Signal(s) }, ended
	}
	t.Run("nohup", func(t *testing.T) {
		send, ended := start(t, "trap '' HUP; ")
		send(syscall.SIGHUP)
		select {
		case err := <-ended:
			t.Errorf("it died of a SIGHUP that it was told to ignore: %v", err)
		case <-time.After(1500 * time.Millisecond):
			send(syscall.SIGTERM)
			<-ended //nolint:errcheck // only the end counts
		}
		o.allClosed(t)
	})
	t.Run("Ctrl-\\", func(t *testing.T) {
		send, ended := start(t, "")
		send(syscall.SIGQUIT)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		o.allClosed(t)
	})
}
