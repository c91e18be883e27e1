package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// sshServer runs a real sshd on a loopback port, for the current user with a key of its own.
type sshServer struct {
	dir     string
	address string
	user    string
}

// requireSSHD returns the paths of sshd and ssh-keygen.
func requireSSHD(t testing.TB) (sshd, keygen string) {
	t.Helper()
	sshd, keygen = requireProgram(t, "sshd"), requireProgram(t, "ssh-keygen")
	// As root, sshd needs its directory for privilege separation, which otherwise only its service makes.
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Skipf("sshd needs /run/sshd: %v", err)
		}
	}
	return sshd, keygen
}

// startSSHServer starts a server with additional lines of configuration. A login has a home of its own: bash would else run
// the account's start files, which may take a second, or wait a minute for a lock that a killed login left.
func startSSHServer(t testing.TB, lines ...string) *sshServer {
	t.Helper()
	program, keygen := requireSSHD(t)
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshServer{dir: shortDir(t), user: who.Username}
	for _, key := range []string{"host", "client"} {
		if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(s.address)
	config := fmt.Sprintf(`
Port %s
ListenAddress 127.0.0.1
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/client.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp internal-sftp
SetEnv HOME=%[2]s
`, port, s.dir) + strings.Join(lines, "\n")
	path := filepath.Join(s.dir, "sshd_config")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log harness.Buffer
	cmd := exec.Command(program, "-D", "-e", "-f", path)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of sshd:\n%s", log.String())
		}
	})
	eventually(t, 10*time.Second, "sshd listens", func() bool {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return s
}

// client returns a command of OpenSSH that reaches the server through the given port.
func (s *sshServer) client(t *testing.T, program string, port int, args ...string) *exec.Cmd {
	t.Helper()
	portFlag := "-p"
	if program == "scp" {
		portFlag = "-P"
	}
	all := append([]string{
		"-F", "none", "-i", filepath.Join(s.dir, "client"), "-o", "IdentitiesOnly=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "BatchMode=yes", "-o", "ConnectTimeout=20", portFlag, fmt.Sprint(port),
	}, args...)
	cmd := exec.CommandContext(t.Context(), requireProgram(t, program), all...)
	cmd.Env = cleanEnv()
	return cmd
}

// copyBothWays sends a file of size bytes to the device with scp and fetches it back; both copies must be the original.
func (s *sshServer) copyBothWays(t *testing.T, port int, target string, size int64) {
	t.Helper()
	dir := t.TempDir()
	sum := writeRandom(t, filepath.Join(dir, "original"), size)
	for _, step := range [][2]string{
		{filepath.Join(dir, "original"), target + ":" + filepath.Join(dir, "uploaded")},
		{target + ":" + filepath.Join(dir, "uploaded"), filepath.Join(dir, "downloaded")},
	} {
		if out, err := s.client(t, "scp", port, "-q", step[0], step[1]).CombinedOutput(); err != nil {
			t.Fatalf("scp %s %s: %v: %s", step[0], step[1], err, out)
		}
	}
	for _, name := range []string{"uploaded", "downloaded"} {
		if got := sumOf(t, filepath.Join(dir, name)); !bytes.Equal(got, sum) {
			t.Errorf("the %s file differs from the original", name)
		}
	}
}

// TestRealSSH is the product's main promise: a token arrives on MQTT, and ssh works.
func TestRealSSH(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	requireProgram(t, "scp")
	ssh := startSSHServer(t)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": ssh.address}})
	device, _ := startSubscribed(t, box)
	opened := openTunnel(t, box, device, "SSH")
	device.waitLog(t, "tunnel connected", 5*time.Second)
	source := startSource(t, box, opened.SourceToken, proxy.V3)
	port := listen(t, source, "SSH")
	target := ssh.user + "@127.0.0.1"

	t.Run("a command", func(t *testing.T) {
		out, err := ssh.client(t, "ssh", port, target, "echo over the culvert; exit 7").CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 7 || string(out) != "over the culvert\n" {
			t.Errorf("got %q, %v; want the output and exit code 7", out, err)
		}
	})
	t.Run("an interactive terminal", func(t *testing.T) {
		cmd := ssh.client(t, "ssh", port, "-tt", target, "sh -i")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out harness.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "a prompt", func() bool { return strings.ContainsAny(out.String(), "$#") })
		// Each command waits for the answer to the one before it, as a person does.
		for _, step := range []struct{ typed, answer string }{
			{"tty", "/dev/pts/"},
			{"echo $((6*7))", "42"},
			{"stty -a | head -1", "rows"},
		} {
			if _, err := io.WriteString(stdin, step.typed+"\n"); err != nil {
				t.Fatal(err)
			}
			eventually(t, 20*time.Second, "the answer to "+step.typed, func() bool { return strings.Contains(out.String(), step.answer) })
		}
		if _, err := io.WriteString(stdin, "exit 3\n"); err != nil {
			t.Fatal(err)
		}
		err = cmd.Wait()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 3 {
			t.Errorf("the shell ended with %v, want exit code 3; its terminal:\n%s", err, out.String())
		}
	})
	t.Run("scp both ways", func(t *testing.T) {
		ssh.copyBothWays(t, port, target, 64<<20)
	})
	t.Run("ten sessions at once", func(t *testing.T) {
		type result struct {
			out []byte
			err error
		}
		results := make(chan result)
		for i := range 10 {
			cmd := ssh.client(t, "ssh", port, target, fmt.Sprintf("head -c %d /dev/zero | wc -c", 1000*(i+1)))
			go func() {
				out, err := cmd.CombinedOutput()
				results <- result{out, err}
			}()
		}
		seen := map[string]bool{}
		for range 10 {
			r := <-results
			if r.err != nil {
				t.Errorf("ssh: %v: %s", r.err, r.out)
			}
			seen[strings.TrimSpace(string(r.out))] = true
		}
		for i := range 10 {
			if n := fmt.Sprint(1000 * (i + 1)); !seen[n] {
				t.Errorf("no session answered %s", n)
			}
		}
	})
	device.stop(t)
}

func writeRandom(t *testing.T, path string, size int64) []byte {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), random(42), size); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}

func sumOf(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}

// openTunnel opens a tunnel to the sandbox's first thing and keeps its tokens out of the daemon's log.
func openTunnel(t testing.TB, box *sandbox.Sandbox, d *daemon, services ...string) tunnels.Opened {
	t.Helper()
	opened, err := box.Store.Open(tunnels.OpenInput{
		Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: services},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d != nil {
		d.hide(opened.SourceToken, opened.DestinationToken)
	}
	return opened
}
