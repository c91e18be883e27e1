package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// startSharingSite is startSSHSite for an operator whose commands share tunnels, for a short while.
func startSharingSite(t testing.TB) (*operatorSite, *sshServer) {
	t.Helper()
	if !holder.Supported {
		t.Skip("this system has no holders")
	}
	o, ssh, _ := startSSHSite(t)
	o.share(t)
	return o, ssh
}

// share makes commands share tunnels, and ends the holders with the test.
func (o *operatorSite) share(t testing.TB) {
	t.Helper()
	o.env = append(o.env, "CULVERT_PERSIST=1m")
	t.Cleanup(func() {
		for _, h := range o.holders(t) {
			if t.Failed() {
				log, _ := os.ReadFile(h.Log)
				t.Logf("log of the holder:\n%s", log)
			}
			_ = syscall.Kill(h.PID, syscall.SIGKILL)
		}
	})
}

func (o *operatorSite) holderDir() string { return filepath.Join(o.home, "culvert") }

// holders are the operator's holders.
func (o *operatorSite) holders(t testing.TB) []holder.Status {
	t.Helper()
	list, _, err := holder.All(o.holderDir(), "")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return list
}

// onlyHolder is the operator's one holder.
func (o *operatorSite) onlyHolder(t testing.TB) holder.Status {
	t.Helper()
	list := o.holders(t)
	if len(list) != 1 {
		t.Fatalf("%d holders, want 1: %v", len(list), list)
	}
	return list[0]
}

// opened counts the tunnels that the sandbox ever opened.
func (o *operatorSite) opened() int { return len(o.box.Store.List("")) }

// ssh runs a remote command with culvert ssh.
func (o *operatorSite) ssh(t testing.TB, s *sshServer, own []string, remote ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runSSH(o.culvert(t, s.arguments(own, remote...)...))
}

func (s *sshServer) arguments(own []string, remote ...string) []string {
	args := append(append([]string{"ssh"}, own...), s.user+"@pi-1", "--")
	return append(append(args, s.sshFlags()...), remote...)
}

func TestASecondCommandUsesTheTunnelOfTheFirst(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	for i, want := range []string{"first", "second"} {
		out, errs, code := o.ssh(t, ssh, nil, "echo", want)
		if code != 0 || out != want+"\n" {
			t.Fatalf("exit code %d, %q\n%s", code, out, errs)
		}
		if charged := strings.Contains(errs, "which AWS charges for"); charged != (i == 0) {
			t.Errorf("the %s command says:\n%s", want, errs)
		}
	}
	if n := o.opened(); n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
	if out, errs, code := o.ssh(t, ssh, nil, "exit 7"); code != 7 {
		t.Errorf("exit code %d, want 7\n%s%s", code, out, errs)
	}
	var h holder.Status
	eventually(t, 10*time.Second, "the holder sees that the command has ended", func() bool {
		h = o.onlyHolder(t)
		return !h.Ends.IsZero()
	})
	if h.Opened != 1 || len(h.Tunnels) != 1 || h.Tunnels[0].BytesIn == 0 || h.Tunnels[0].Users != 0 {
		t.Errorf("status %+v", h)
	}
	log, err := os.ReadFile(h.Log)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(h.Log); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log: %v, %v", info, err)
	}
	if tokenForm.Match(log) || bytes.Contains(log, []byte("AWS_SECRET")) {
		t.Errorf("there is a secret in the log:\n%s", log)
	}
	began := time.Now()
	if err := syscall.Kill(h.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	o.allClosed(t)
	t.Logf("after SIGTERM the tunnel was closed within %v", time.Since(began).Round(time.Millisecond))
	eventually(t, 10*time.Second, "the socket is gone", func() bool { return len(o.holders(t)) == 0 })
}

// TestCommandsAtOnceOpenOneTunnel is what a script or an editor does.
func TestCommandsAtOnceOpenOneTunnel(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	const n = 20
	type result struct {
		out, errs string
		code      int
	}
	results := make(chan result, n)
	began := time.Now()
	for i := range n {
		cmd := o.culvert(t, ssh.arguments(nil, fmt.Sprintf("echo %d", i))...)
		go func() {
			out, errs, code := runSSH(cmd)
			results <- result{out, errs, code}
		}()
	}
	seen, waited := map[string]bool{}, 0
	for range n {
		r := <-results
		if r.code != 0 {
			t.Errorf("exit code %d\n%s", r.code, r.errs)
		}
		seen[r.out] = true
		if strings.Contains(r.errs, "waiting for pi-1") {
			waited++
		}
	}
	t.Logf("%d at once: %v, of which %d showed the wait", n, time.Since(began).Round(time.Millisecond), waited)
	if len(seen) != n {
		t.Errorf("%d different answers, want %d", len(seen), n)
	}
	if opened := o.opened(); opened != 1 {
		t.Errorf("%d tunnels were opened, want 1", opened)
	}
	if waited < 2 {
		t.Errorf("%d commands showed what they waited for", waited)
	}
	if h := o.onlyHolder(t); h.Opened != 1 {
		t.Errorf("status %+v", h)
	}
}

func TestAKilledHolderIsReplaced(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	cmd := o.culvert(t, ssh.arguments(nil, "echo started; exec sleep 60")...)
	var out, errs harness.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "a session", func() bool { return strings.Contains(out.String(), "started") })
	h := o.onlyHolder(t)
	if h.Tunnels[0].Users == 0 {
		t.Errorf("status %+v", h)
	}
	if err := syscall.Kill(h.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 255 {
		t.Errorf("the session ended with %v, want exit code 255", err)
	}
	if !strings.Contains(errs.String(), "the background holder of pi-1's tunnel has ended unexpectedly") {
		t.Errorf("the session says:\n%s", errs.String())
	}
	// The socket is there, and nothing listens.
	if sockets, _ := filepath.Glob(filepath.Join(o.holderDir(), "*.sock")); len(sockets) != 1 {
		t.Fatalf("sockets: %v", sockets)
	}
	if out, errs, code := o.ssh(t, ssh, nil, "echo again"); code != 0 || out != "again\n" {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	if again := o.onlyHolder(t); again.PID == h.PID {
		t.Error("the holder is the same")
	}
	if n := o.opened(); n > 2 {
		t.Errorf("%d tunnels were opened", n)
	}
}

func TestProfilesDoNotShare(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	dir := filepath.Join(o.home, ".aws")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	credentials := "[a]\naws_access_key_id = any\naws_secret_access_key = thing\n[b]\naws_access_key_id = other\naws_secret_access_key = thing\n"
	if err := os.WriteFile(filepath.Join(dir, "credentials"), []byte(credentials), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, profile := range []string{"a", "b", "a"} {
		if _, errs, code := o.ssh(t, ssh, []string{"--profile", profile}, "true"); code != 0 {
			t.Fatalf("profile %s: exit code %d\n%s", profile, code, errs)
		}
	}
	if n := len(o.holders(t)); n != 2 {
		t.Errorf("%d holders, want one for each profile", n)
	}
}

func TestAHolderEndsAfterItsLastUse(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	if _, errs, code := o.ssh(t, ssh, []string{"--persist", "2s"}, "true"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	if len(o.open()) != 1 {
		t.Error("the tunnel did not outlive the command")
	}
	h := o.onlyHolder(t)
	o.allClosed(t)
	eventually(t, 10*time.Second, "the holder has ended", func() bool { return syscall.Kill(h.PID, 0) != nil })
	if sockets, _ := filepath.Glob(filepath.Join(o.holderDir(), "*.sock")); len(sockets) != 0 {
		t.Errorf("sockets: %v", sockets)
	}
}

func TestConnectUsesTheHoldersTunnel(t *testing.T) {
	t.Parallel()
	if !holder.Supported {
		t.Skip("this system has no holders")
	}
	ssh := startSSHServer(t)
	echo := echoServer(t)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": ssh.address, "ECHO": echo}})
	startSubscribed(t, box)
	o := newOperatorSite(t, box)
	o.share(t)

	cmd := o.culvert(t, "connect", "pi-1", "SSH", "ECHO")
	var out, errs harness.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "both services listen", func() bool { return strings.Count(out.String(), "\n") == 2 })
	address := strings.Fields(out.String())[3]
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("over the culvert")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	got := make([]byte, 16)
	if _, err := c.Read(got); err != nil || string(got) != "over the culvert" {
		t.Errorf("%q, %v", got, err)
	}
	if _, errs, code := o.ssh(t, ssh, nil, "true"); code != 0 {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	if n := o.opened(); n != 1 {
		t.Errorf("%d tunnels were opened, want 1", n)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Errorf("connect ended with %v\n%s", err, errs.String())
	}
	if n := len(o.open()); n != 1 {
		t.Errorf("%d tunnels are open, want the holder's", n)
	}
}

// TestTheEndOfASharedTunnelIsTheCommands has no connection, which would be kept over another tunnel.
func TestTheEndOfASharedTunnelIsTheCommands(t *testing.T) {
	t.Parallel()
	o, _ := startSharingSite(t)
	cmd := o.culvert(t, "connect", "pi-1")
	var out, errs harness.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "SSH is there", func() bool { return strings.Contains(out.String(), "SSH ") })
	if err := o.box.Store.Close(o.open()[0].ID, false); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("exit code %d, want 5\n%s", code, errs.String())
	}
}

func TestASecondServiceGetsATunnelOfItsOwnAndTheReason(t *testing.T) {
	t.Parallel()
	if !holder.Supported {
		t.Skip("this system has no holders")
	}
	echo := echoServer(t)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": echo, "WEB": echo}})
	startSubscribed(t, box)
	o := newOperatorSite(t, box)
	o.share(t)
	for _, service := range []string{"SSH", "WEB", "SSH"} {
		cmd := o.culvert(t, "connect", "--stdio", "pi-1", service)
		cmd.Stdin = strings.NewReader(service)
		out, errs, code := runSSH(cmd)
		if code != 0 || out != service {
			t.Fatalf("%s: exit code %d, %q\n%s", service, code, out, errs)
		}
		if reason := strings.Contains(errs, "has no service WEB"); reason != (service == "WEB") {
			t.Errorf("%s says:\n%s", service, errs)
		}
	}
	if n := o.opened(); n != 2 {
		t.Errorf("%d tunnels were opened, want 2", n)
	}
	o.onlyHolder(t)
}
