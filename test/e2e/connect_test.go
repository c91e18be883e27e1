package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// sshFlags are ssh's for a server of the test.
func (s *sshServer) sshFlags() []string {
	return []string{
		"-F", "none", "-i", filepath.Join(s.dir, "client"), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=accept-new",
		"-o", "UserKnownHostsFile=" + filepath.Join(s.dir, "known_hosts"), "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
	}
}

// startSSHSite is a device with an sshd, and an operator.
func startSSHSite(t testing.TB, sshd ...string) (*operatorSite, *sshServer, *daemon) {
	t.Helper()
	requireProgram(t, "ssh")
	ssh := startSSHServer(t, sshd...)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": ssh.address}})
	device, _ := startSubscribed(t, box)
	return newOperatorSite(t, box), ssh, device
}

func runSSH(cmd *exec.Cmd) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return "", err.Error(), -1
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

var tokenForm = regexp.MustCompile(`[A-Za-z0-9_=-]{100}`)

// TestCulvertSSH is the operator's main promise: one command to a shell.
func TestCulvertSSH(t *testing.T) {
	t.Parallel()
	o, ssh, _ := startSSHSite(t)
	args := func(destination string, rest ...string) []string {
		return append(append([]string{"ssh", destination, "--"}, ssh.sshFlags()...), rest...)
	}

	t.Run("a command, and how long it takes", func(t *testing.T) {
		began := time.Now()
		out, errs, code := runSSH(o.culvert(t, args(ssh.user+"@pi-1", "uname", "-a")...))
		if code != 0 || !strings.HasPrefix(out, "Linux") {
			t.Fatalf("exit code %d\n%s%s", code, out, errs)
		}
		t.Logf("culvert ssh pi-1 -- uname -a: %v", time.Since(began).Round(time.Millisecond))
		for _, step := range []string{"looking for an open tunnel to pi-1", "opening a tunnel to pi-1 for 12 h, which AWS charges for", "waiting for pi-1"} {
			if !strings.Contains(errs, "culvert: "+step+"\n") {
				t.Errorf("step %q is not shown in\n%s", step, errs)
			}
		}
		if tokenForm.MatchString(errs) {
			t.Error("there is a token in what is shown")
		}
		o.allClosed(t)
		hosts, err := os.ReadFile(filepath.Join(ssh.dir, "known_hosts"))
		if err != nil || !strings.HasPrefix(string(hosts), "pi-1 ") {
			t.Errorf("known hosts: %v\n%s", err, hosts)
		}
	})
	t.Run("time to the first byte", func(t *testing.T) {
		var all []time.Duration
		for range 3 {
			took := firstByte(t, o.culvert(t, args(ssh.user+"@pi-1", "echo first; sleep 0.1")...))
			all = append(all, took.Round(time.Millisecond))
			o.allClosed(t)
		}
		t.Logf("from the start to the remote command's first byte: %v", all)
	})
	t.Run("the exit code is passed on", func(t *testing.T) {
		if out, errs, code := runSSH(o.culvert(t, args(ssh.user+"@pi-1", "exit 7")...)); code != 7 {
			t.Errorf("exit code %d, want 7\n%s%s", code, out, errs)
		}
	})
	t.Run("quiet", func(t *testing.T) {
		out, errs, code := runSSH(o.culvert(t, append([]string{"ssh", "--quiet", ssh.user + "@pi-1", "--"}, append(ssh.sshFlags(), "echo hello")...)...))
		if code != 0 || out != "hello\n" || errs != "" {
			t.Errorf("exit code %d, %q, %q", code, out, errs)
		}
	})
	t.Run("an open tunnel is used again and stays open", func(t *testing.T) {
		o.allClosed(t)
		opened, err := o.box.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH"}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Run("once its token was used", func(t *testing.T) { startSource(t, o.box, opened.SourceToken, proxy.V3) })
		eventually(t, 10*time.Second, "the source has left", func() bool {
			d, err := o.box.Store.Describe(opened.Tunnel.ID)
			return err == nil && d.SourceState.Status == tunnels.Disconnected
		})
		_, errs, code := runSSH(o.culvert(t, args(ssh.user+"@pi-1", "true")...))
		if code != 0 || !strings.Contains(errs, "rotating the tokens of tunnel "+opened.Tunnel.ID) {
			t.Errorf("exit code %d\n%s", code, errs)
		}
		if list := o.open(); len(list) != 1 || list[0].ID != opened.Tunnel.ID {
			t.Errorf("open tunnels: %v", list)
		}
		t.Run("but not one with a connected source", func(t *testing.T) {
			r, err := o.box.Store.Rotate(opened.Tunnel.ID, tunnels.RotateSource, nil)
			if err != nil {
				t.Fatal(err)
			}
			other := startSource(t, o.box, r.SourceToken, proxy.V3)
			_, errs, code := runSSH(o.culvert(t, args(ssh.user+"@pi-1", "true")...))
			if code != 0 || !strings.Contains(errs, "is in use") || !strings.Contains(errs, "opening a tunnel") {
				t.Errorf("exit code %d\n%s", code, errs)
			}
			select {
			case <-other.Done():
				t.Error("the other session was ended")
			default:
			}
			eventually(t, 10*time.Second, "only the other's tunnel stays", func() bool { return len(o.open()) == 1 })
		})
		if _, err := o.box.Store.Describe(opened.Tunnel.ID); err != nil {
			t.Fatal(err)
		}
		_ = o.box.Store.Close(opened.Tunnel.ID, true)
	})
	t.Run("a pseudo-terminal", func(t *testing.T) {
		script := requireProgram(t, "script")
		// script gives ssh a real terminal, and this test types on it.
		line := culvert(t) + " ssh " + ssh.user + "@pi-1 -- -tt " + strings.Join(ssh.sshFlags(), " ")
		cmd := o.command(t, script, "-q", "-e", "-c", line, "/dev/null")
		out, stdin := startTyping(t, cmd)
		eventually(t, 20*time.Second, "a prompt", func() bool { return strings.ContainsAny(out.String(), "$#") })
		for _, step := range []struct{ typed, answer string }{{"tty", "/dev/pts/"}, {"echo $((6*7))", "42"}} {
			if _, err := io.WriteString(stdin, step.typed+"\n"); err != nil {
				t.Fatal(err)
			}
			eventually(t, 20*time.Second, "the answer to "+step.typed, func() bool { return strings.Contains(out.String(), step.answer) })
		}
		_, _ = io.WriteString(stdin, "exit 3\n")
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 3 {
			t.Errorf("exit code %d, want 3; the terminal:\n%s", code, out.String())
		}
		live := "\rculvert: connecting to the data endpoint ..."
		for _, want := range []string{"\rculvert: waiting for pi-1 ...", live + "\r" + strings.Repeat(" ", len(live)-1) + "\r"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no live line %q in %q", want, out.String())
			}
		}
		o.allClosed(t)
	})
}

// startConnect runs culvert connect and returns the address of its first service.
func (o *operatorSite) startConnect(t testing.TB, args ...string) (cmd *exec.Cmd, address string, stderr *harness.Buffer) {
	t.Helper()
	cmd = o.culvert(t, append([]string{"connect"}, args...)...)
	var out harness.Buffer
	stderr = &harness.Buffer{}
	cmd.Stdout, cmd.Stderr = &out, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("culvert connect:\n%s", stderr.String())
		}
	})
	eventually(t, 30*time.Second, "culvert connect listens", func() bool { return strings.Contains(out.String(), "\n") })
	_, address, _ = strings.Cut(strings.TrimSpace(strings.SplitN(out.String(), "\n", 2)[0]), " ")
	return cmd, address, stderr
}

func TestCulvertConnect(t *testing.T) {
	t.Parallel()
	echo := echoServer(t)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": echo, "HTTP": echo}})
	startSubscribed(t, box)
	o := newOperatorSite(t, box)

	t.Run("Ctrl-C closes the tunnel", func(t *testing.T) {
		cmd, address, stderr := o.startConnect(t, "pi-1", "SSH=0", "HTTP")
		if !answersAt(address) {
			t.Error("no echo")
		}
		if list := o.open(); len(list) != 1 {
			t.Errorf("open tunnels: %v", list)
		}
		for range 3 { // timeout(1) sends each signal twice
			_ = cmd.Process.Signal(os.Interrupt)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after Ctrl-C: %v\n%s", err, stderr.String())
		}
		if list := o.open(); len(list) != 0 {
			t.Errorf("open tunnels: %v", list)
		}
	})
	t.Run("a cut link and a spent token are repaired", func(t *testing.T) {
		cmd, address, stderr := o.startConnect(t, "--keep", "pi-1")
		id := o.open()[0].ID
		box.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
		eventually(t, 20*time.Second, "it works again after a cut", func() bool { return answersAt(address) })
		if strings.Contains(stderr.String(), "rotating the source's token") {
			t.Errorf("a cut took a rotation:\n%s", stderr.String())
		}
		if _, err := box.Store.Rotate(id, tunnels.RotateSource, nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "it works again after the token was rotated away", func() bool { return answersAt(address) })
		if !strings.Contains(stderr.String(), "rotating the source's token") {
			t.Errorf("no rotation is shown:\n%s", stderr.String())
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
		if list := o.open(); len(list) != 1 {
			t.Errorf("open tunnels with --keep: %v", list)
		}
		_ = box.Store.Close(id, true)
	})
	t.Run("a tunnel that is closed ends it", func(t *testing.T) {
		cmd, _, stderr := o.startConnect(t, "pi-1")
		_ = box.Store.Close(o.open()[0].ID, false)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 5 || !strings.Contains(stderr.String(), "was closed or has expired\nhint: ") {
			t.Errorf("exit code %d, want 5\n%s", code, stderr.String())
		}
	})
	t.Run("standard input and output", func(t *testing.T) {
		cmd := o.culvert(t, "connect", "--stdio", "--quiet", "pi-1", "HTTP")
		cmd.Stdin = strings.NewReader("hello\n")
		if out, errs, code := runSSH(cmd); code != 0 || out != "hello\n" || errs != "" {
			t.Errorf("exit code %d, %q, %q", code, out, errs)
		}
		o.allClosed(t)
	})
	t.Run("a port in use", func(t *testing.T) {
		_, port, _ := strings.Cut(echo, ":")
		if _, errs, code := runSSH(o.culvert(t, "connect", "pi-1", "SSH="+port)); code != 1 || !strings.Contains(errs, "in use\nhint: ") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	t.Run("an output that takes nothing", func(t *testing.T) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip(err)
		}
		defer full.Close()
		cmd := o.culvert(t, "connect", "pi-1", "SSH")
		var stderr harness.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "print where SSH is: ") {
			t.Errorf("exit code %d\n%s", code, stderr.String())
		}
		o.allClosed(t)
	})
	t.Run("a service that the device lacks", func(t *testing.T) {
		cmd := o.culvert(t, "connect", "--stdio", "pi-1", "VNC")
		in, held, err := os.Pipe() // an input that does not end
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		defer held.Close()
		cmd.Stdin = in
		_, errs, code := runSSH(cmd)
		if code != 1 || !strings.Contains(errs, "culvertd on pi-1 cannot connect to VNC\nhint: ") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
		o.allClosed(t)
		_, errs, code = runSSH(o.culvert(t, "connect", "--stdio", "pi-1", "VNC"))
		if code != 1 || !strings.Contains(errs, "culvertd on pi-1 cannot connect to VNC\nhint: ") {
			t.Errorf("without input: exit code %d\n%s", code, errs)
		}
		o.allClosed(t)
	})
	t.Run("a name that no thing has", func(t *testing.T) {
		before := len(box.Store.List(""))
		_, errs, code := runSSH(o.culvert(t, "connect", "nobody"))
		if code != 4 || !strings.Contains(errs, "there is no thing nobody") || len(box.Store.List("")) != before {
			t.Errorf("exit code %d, want 4 and no tunnel\n%s", code, errs)
		}
	})
	if _, err := box.Device("nobody"); err != nil {
		t.Fatal(err)
	}
	t.Run("a device that is offline", func(t *testing.T) {
		_, errs, code := runSSH(o.culvert(t, "connect", "--wait", "10s", "nobody"))
		for _, want := range []string{"nobody did not connect within 10s\nhint: ", "may be offline", "policy", "region"} {
			if !strings.Contains(errs, want) {
				t.Errorf("no %q", want)
			}
		}
		if code != 4 {
			t.Errorf("exit code %d, want 4\n%s", code, errs)
		}
		o.allClosed(t)
	})
	t.Run("Ctrl-C while waiting", func(t *testing.T) {
		cmd := o.culvert(t, "connect", "nobody")
		var stderr harness.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "it waits", func() bool { return strings.Contains(stderr.String(), "waiting for nobody") })
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("exit code %d, want 130\n%s", code, stderr.String())
		}
		o.allClosed(t)
	})
}

// answersAt reports whether an echo server answers at address.
func answersAt(address string) bool {
	c, err := dialTo(address)(context.Background(), "")
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return false
	}
	got := make([]byte, 5)
	_, err = io.ReadFull(c, got)
	return err == nil && string(got) == "hello"
}
