package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
)

// wine returns the program that runs Windows programs: CULVERT_WINE, or wine. Debian 12's is too old for Go programs.
func wine(t *testing.T) string {
	t.Helper()
	program := os.Getenv("CULVERT_WINE")
	if program == "" {
		program = "wine"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip("wine is not installed: culvert.exe is built, and not run")
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		t.Skipf("%s --version: %v", path, err)
	}
	var major int
	if _, err := fmt.Sscanf(string(out), "wine-%d", &major); err != nil || major < 9 {
		t.Skipf("%s is %s: Go's runtime needs bcryptprimitives.dll, which comes with Wine 9 or newer", path, strings.TrimSpace(string(out)))
	}
	return path
}

// TestWindows runs culvert.exe in Wine and checks its output and exit codes, a connection through a tunnel to a device,
// and Ctrl-C in a console.
func TestWindows(t *testing.T) {
	program := wine(t)
	script := requireProgram(t, "script")
	exe := filepath.Join(shortDir(t), "culvert.exe")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", exe, "github.com/culvert-iot/culvert/cmd/culvert")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echoServer(t)}})
	device, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	startDaemon(t, device.ConfigFile).waitLog(t, "mqtt subscribed", 10*time.Second)
	o := newOperatorSite(t, box)
	o.env = append(o.env, "WINEDEBUG=-all", "WINEPREFIX="+filepath.Join(o.home, "wine"))
	if prefix := os.Getenv("WINEPREFIX"); prefix != "" {
		o.env = append(o.env, "WINEPREFIX="+prefix)
	}
	// The first start creates Wine's directory.
	if out, err := o.command(t, program, exe, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "windows/amd64") {
		t.Fatalf("version: %v\n%s", err, out)
	}

	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "culvert ssh my-pi"},
		{[]string{"conect"}, 2, "did you mean culvert connect?"},
		{[]string{"ls", "--output", "text"}, 0, "pi-1\tonline"},
		{[]string{"ping", "-c", "1", "pi-1"}, 0, "1 sent, 1 acknowledged"},
		{[]string{"ssh", "--ssh", "no-such-ssh", "pi-1"}, 1, "install OpenSSH's client"},
	} {
		cmd := o.command(t, program, append([]string{exe}, tt.args...)...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(string(out), tt.want) {
			t.Errorf("%q: exit code %d, want %d; no %q in\n%s", tt.args, code, tt.code, tt.want, out)
		}
	}

	t.Run("standard input and output", func(t *testing.T) {
		cmd := o.command(t, program, exe, "connect", "--quiet", "--stdio", "pi-1", "ECHO")
		cmd.Stdin = strings.NewReader("hello\r\n\x1a\x00") // must pass unchanged, although Windows has its own ends of lines and files
		if out, err := cmd.Output(); err != nil || string(out) != "hello\r\n\x1a\x00" {
			t.Errorf("%v: %q", err, out)
		}
	})

	t.Run("a console, and Ctrl-C", func(t *testing.T) {
		cmd := o.command(t, script, "-q", "-e", "-c", "exec "+program+" "+exe+" connect pi-1 ECHO", "/dev/null")
		out, keys := startTyping(t, cmd)
		eventually(t, 30*time.Second, "a port", func() bool { return strings.Contains(out.String(), "Ctrl-C") })
		address := regexp.MustCompile(`ECHO (127\.0\.0\.1:\d+)`).FindStringSubmatch(out.String())
		if address == nil {
			t.Fatalf("no address in\n%s", out.String())
		}
		conn, err := net.Dial("tcp", address[1])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
			t.Errorf("%q, %v", line, err)
		}
		if _, err := io.WriteString(keys, "\x03"); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after Ctrl-C: %v\n%s", err, out.String())
		}
		eventually(t, 10*time.Second, "its tunnel is closed", func() bool { return len(o.open()) == 0 })
	})
}
