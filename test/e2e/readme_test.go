package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheREADMEsCommandsWorkInTheSandboxsShell runs the table of commands in the shell that the README opens for them.
// Only places are changed: a port and a directory that are the test's own.
func TestTheREADMEsCommandsWorkInTheSandboxsShell(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	requireProgram(t, "curl")
	requireSSHD(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	opens := regexp.MustCompile(`(?m)^bin/culvert (sandbox --shell.*)$`).FindSubmatch(readme)
	if opens == nil {
		t.Fatal("the README opens no shell of the sandbox")
	}
	home := shortDir(t)
	if err := os.WriteFile(filepath.Join(home, "firmware.bin"), []byte("firmware\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	n := 0
	for _, row := range regexp.MustCompile("(?m)^\\| `(culvert (?:ls|[^`]*\\bmy-[^`]*))` \\|").FindAllSubmatch(readme, -1) {
		line := strings.NewReplacer("my-pi:", "my-pi:"+home+"/copy.bin", "HTTP=8080", "HTTP -- sh -c 'curl -s http://$CULVERT_HTTP_ADDRESS/'").Replace(string(row[1]))
		script.WriteString("echo \"== " + strings.ReplaceAll(string(row[1]), `"`, "") + "\"\n" + line + " || echo \"failed: $?\"\n")
		n++
	}
	if n < 9 {
		t.Fatalf("the README's table has %d commands for my-pi", n)
	}
	cmd := exec.CommandContext(t.Context(), culvert(t), strings.Fields(string(opens[1]))...)
	cmd.Dir = home
	cmd.Env = cleanEnv("HOME="+home, "TERM=xterm", "SHELL=/bin/sh", "XDG_RUNTIME_DIR="+home, "CULVERT_PERSIST=0", "NO_PROXY=*")
	cmd.Stdin = strings.NewReader(script.String())
	out, errs, code := runSSH(cmd)
	if code != 0 || strings.Contains(out, "failed: ") {
		t.Errorf("exit code %d\n%s\n%s", code, out, errs)
	}
	for _, want := range []string{
		"with the device my-pi.\n", "my-pi                       online", "\nLinux", "my-pi: ", "This is my-pi, a device of the sandbox", "Host my-pi\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if got, err := os.ReadFile(filepath.Join(home, "copy.bin")); err != nil || string(got) != "firmware\n" {
		t.Errorf("the copy: %q, %v", got, err)
	}
}
