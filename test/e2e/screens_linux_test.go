package e2e

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/test/harness"
)

var updateScreens = flag.Bool("screens", false, "write what the programs show into testdata/screens")

// The size of an ordinary terminal.
const screenColumns, screenRows = 80, 24

// screenNames match figures, names and places that differ in each run, with their placeholders in testdata/screens. A
// blank belongs to the match where figures are set flush right.
var screenNames = []struct{ form, name string }{
	{`/tmp/[\w./-]*/(culvertd|pi-1)`, `DIR/$1`},
	{`/tmp/[\w./-]+`, `DIR`},
	{`127\.0\.0\.1:\d+`, `127.0.0.1:PORT`},
	{`culvertd  [\w.-]+,`, `culvertd  VERSION,`},
	{`(pid|process) \d+`, `$1 PID`},
	{` +\d[\d.,]* ([kMG]i?B(/s)?|B|ms|s|m|h)\b`, ` FIGURE $1`},
	{`\b\d[\d.hm]*(ms|s|m|h)\b`, `TIME`},
	{`\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d UTC)?`, `DATE`},
	{`\b[0-9a-f]{8}\b`, `TOKEN`},
	{`[\d,]+ bytes, none wrong`, `BYTES bytes, none wrong`},
	{`FIGURE (ms|s)\b`, `FIGURE s`},
	{`FIGURE [kMG]?B/s`, `FIGURE MB/s`},
	{`FIGURE [kMG]?B free`, `FIGURE GB free`},
	{`(?m)^. systemd .*\n`, ``}, // some machines that run tests have no systemd
	{`\d+ checks: .*`, `N checks: …`},
	{` +TIME`, ` TIME`},
	{`SSH-2\.0-\S+.*`, `SSH-2.0-OpenSSH`},
}

// screenOf runs a program on a terminal of 80 columns and 24 rows. When the screen shows until, it types Ctrl-C.
func screenOf(t *testing.T, cmd *exec.Cmd, until string) (lines []string) {
	t.Helper()
	program := requireProgram(t, "script")
	words := make([]string, len(cmd.Args))
	for i, w := range cmd.Args {
		words[i] = openssh.Quote(w)
	}
	run := exec.CommandContext(t.Context(), program, "-q", "-c", "stty rows 24 cols 80; exec "+strings.Join(words, " "), "/dev/null")
	run.Env, run.Dir = cmd.Env, cmd.Dir
	out, stdin := startTyping(t, run)
	if until != "" {
		eventually(t, 30*time.Second, "it shows "+until, func() bool { return strings.Contains(out.String(), until) })
		if _, err := stdin.Write([]byte("\x03")); err != nil {
			t.Error(err)
		}
	}
	_ = run.Wait() // the exit code does not matter here
	s := harness.Screen{Columns: screenColumns}
	text, _, _ := strings.Cut(out.String(), "^C")
	s.Write(text)
	if s.Wrapped > 0 {
		t.Errorf("%d lines are wider than %d columns:\n%s", s.Wrapped, screenColumns, strings.Join(s.Lines(), "\n"))
	}
	return s.Lines()
}

// TestScreens compares what the programs show on a terminal with testdata/screens. To look at changes and accept
// them: go test ./test/e2e -run TestScreens -screens, and git diff.
func TestScreens(t *testing.T) {
	t.Parallel()
	site, ssh, device := startSSHSite(t)
	files, err := site.box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	opened := openTunnel(t, site.box, device, "SSH")
	device.waitLog(t, "tunnel connected", 20*time.Second)
	daemon := func(args ...string) *exec.Cmd {
		cmd := site.command(t, culvertd(t), append(args, "--config", files.ConfigFile)...)
		cmd.Env = cleanEnv("TERM=xterm") // as in the running daemon
		return cmd
	}
	installed := func(args ...string) *exec.Cmd { // commands for the user to type have no path, as with installed packages
		cmd := site.command(t, "env", append([]string{"PATH=" + filepath.Dir(culvert(t)) + ":" + filepath.Dir(culvertd(t)) + ":" + os.Getenv("PATH")}, args...)...)
		cmd.Dir = shortDir(t)
		return cmd
	}
	sshArgs := append([]string{"ssh", ssh.user + "@pi-1", "--"}, ssh.sshFlags()...)
	execArgs := []string{"exec", "--user", ssh.user, "-o", "IdentityFile=" + filepath.Join(ssh.dir, "client"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"}
	for _, c := range []struct {
		name  string
		cmd   *exec.Cmd
		until string
		long  bool // more than a screen: the end stays in view
	}{
		{name: "status", cmd: daemon("status")},
		{name: "check-offline", cmd: daemon("check", "--offline")},
		{name: "check", cmd: daemon("check"), long: true},
		{name: "ssh", cmd: site.culvert(t, append(sshArgs, "echo a shell on the device")...)},
		{name: "exec", cmd: site.culvert(t, append(execArgs, "pi-1", "--", "echo said by the device")...)},
		{name: "demo", cmd: site.culvert(t, "demo", "--culvertd", culvertd(t), "--bytes", "1024101")},
		{name: "sandbox", cmd: installed("culvert", "sandbox"), until: "Ctrl-C ends it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "ssh" { // so that the status's tunnel is gone
				_ = site.box.Store.Close(opened.Tunnel.ID, true)
			}
			lines := screenOf(t, c.cmd, c.until)
			if !c.long && len(lines) >= screenRows { // the prompt needs a row
				t.Errorf("%d rows do not fit a screen of %d with a prompt", len(lines), screenRows)
			}
			got := steadyScreen(lines)
			golden := filepath.Join("testdata", "screens", c.name+".txt")
			if *updateScreens {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s shows\n%s\nand %s has\n%s", c.name, got, golden, want)
			}
		})
	}
}

// steadyScreen returns a screen with placeholders for its volatile parts. It joins lines that broke at the end of such
// a part.
func steadyScreen(lines []string) string {
	text := strings.Join(lines, "\n") + "\n"
	text = regexp.MustCompile(`(\S)\n {10}(?: {9})?(\S)`).ReplaceAllString(text, "$1 $2")
	for _, v := range screenNames {
		text = regexp.MustCompile(v.form).ReplaceAllString(text, v.name)
	}
	return text
}
