package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// startPlainFleet is a fleet whose tunnels work, for an ssh that does not use them.
func startPlainFleet(t *testing.T, n int) *operatorSite {
	t.Helper()
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"SSH": "127.0.0.1:9"}})
	startFleet(t, box, names(n))
	return newOperatorSite(t, box)
}

// fakeSSH returns a program in the place of ssh that runs the lines of a shell script, with $thing set.
func fakeSSH(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ssh")
	begin := []string{"#!/bin/sh", `for word; do [ "$word" != -G ] || exit 0; done`, `while [ "$1" != -- ]; do shift; done`, "thing=$2"}
	if err := harness.WriteProgram(path, []byte(strings.Join(append(begin, lines...), "\n")+"\n")); err != nil {
		t.Fatal(err)
	}
	return path
}

// whileThere returns a shell command that runs as long as the test, and ends by itself then.
func whileThere(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "running")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return "while [ -e " + file + " ]; do sleep 1; done"
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// TestExecWaitsForItsReader: six devices print more than the pipe to the reader takes, which reads nothing for a while. On
// the seventh, ssh leaves a process running that keeps its output open.
func TestExecWaitsForItsReader(t *testing.T) {
	t.Parallel()
	site := startPlainFleet(t, 7)
	const line = "line %d of fifty bytes that a device has to say\n"
	program := fakeSSH(t, "if [ $thing = dev-007 ]; then ("+whileThere(t)+") & exit 0; fi",
		"i=0; while [ $i -lt 1000 ]; do printf '"+strings.TrimSpace(line)+`\n' $i; i=$((i+1)); done`)
	todo := filepath.Join(t.TempDir(), "todo")
	cmd := site.culvert(t, "exec", "--ssh", program, "--yes", "--failed", todo, "dev-00*", "--", "true")
	var errs harness.Buffer
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// By then the reader has been slow for as long as exec waits for what is left running.
	eventually(t, 60*time.Second, "the seventh has ended", func() bool {
		return strings.Contains(errs.String(), "culvert: dev-007 ended with exit code 0 after ")
	})
	out, err := io.ReadAll(stdout)
	if err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, text, _ := strings.Cut(line, ": ")
		got[name] += text
	}
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&want, line, i)
	}
	for _, name := range names(6) {
		if got[name] != want.String() {
			t.Errorf("%s: %d bytes, want %d", name, len(got[name]), want.Len())
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 || len(got) != 6 || readText(t, todo) != "" {
		t.Errorf("exit code %d, output of %d devices\n%s", code, len(got), errs.String())
	}
	site.allClosed(t)
}

// TestExecLosesNothingSilently: a full disk shows in the exit code, and a reader that has left does not.
func TestExecLosesNothingSilently(t *testing.T) {
	t.Parallel()
	site := startPlainFleet(t, 1)
	program := fakeSSH(t, "echo a result; echo a complaint >&2")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	reader, left, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	_ = reader.Close()
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, "dev-001.out")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args   []string
		stdout *os.File
		code   int
		want   string
	}{
		"lines on a full disk": {nil, full, 1, "error: output was lost: write /dev/stdout: no space left on device\nhint: make space"},
		"JSON on a full disk":  {[]string{"--json"}, full, 1, "error: output was lost: write /dev/stdout: no space left on device\nhint: make space"},
		"a file on a full disk": {
			[]string{"--quiet", "--output-dir", dir},
			nil, 1,
			" s; its output is incomplete: write " + dir + "/dev-001.out: no space left on device\nerror: output was lost: ",
		},
		"lines, and the reader has left": {nil, left, 0, "1 of 1 done, 0 failed"},
		"JSON, and the reader has left":  {[]string{"--json"}, left, 0, "1 of 1 done, 0 failed"},
	} {
		t.Run(name, func(t *testing.T) {
			todo := filepath.Join(t.TempDir(), "todo")
			cmd := site.culvert(t, append(append([]string{"exec", "--ssh", program, "--failed", todo}, c.args...), "dev-001", "--", "true")...)
			var errs harness.Buffer
			cmd.Stderr = &errs
			if c.stdout != nil {
				cmd.Stdout = c.stdout
			}
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(errs.String(), c.want) {
				t.Errorf("exit code %d, want %d\n%s\nwant\n%s", code, c.code, errs.String(), c.want)
			}
			if left := readText(t, todo); left != "" {
				t.Errorf("the command ran, and is to be run again on %q", left)
			}
		})
	}
	t.Run("the list of failures on a full disk", func(t *testing.T) {
		before := site.opened()
		_, errs, code := runSSH(site.culvert(t, "exec", "--ssh", program, "--failed", "/dev/full", "dev-001", "--", "true"))
		if code != 1 || !strings.Contains(errs, "error: --failed: write /dev/full: no space left on device\n") || site.opened() != before {
			t.Errorf("exit code %d, %d tunnels more\n%s", code, site.opened()-before, errs)
		}
	})
}

func TestExecNamesTheSignalThatKilledSSH(t *testing.T) {
	t.Parallel()
	site := startPlainFleet(t, 1)
	program := fakeSSH(t, "kill -9 $$")
	const reason = "ssh was killed by signal 9 (killed)"
	_, errs, code := runSSH(site.culvert(t, "exec", "--ssh", program, "dev-001", "--", "true"))
	if code != 1 || !strings.Contains(errs, " s: "+reason+"\n") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	out, errs, code := runSSH(site.culvert(t, "exec", "--ssh", program, "--json", "dev-001", "--", "true"))
	if code != 1 || !strings.Contains(out, `"exit_code":-1`) || !strings.Contains(out, `"error":"`+reason+`"`) {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// TestExecListOfFailures: what --failed leaves when the run does not come to its end.
func TestExecListOfFailures(t *testing.T) {
	t.Parallel()
	site := startPlainFleet(t, 2)
	t.Run("after a refusal", func(t *testing.T) {
		todo := filepath.Join(t.TempDir(), "todo")
		script := requireProgram(t, "script")
		for _, before := range []string{"", "# mine\ndev-002\n"} {
			if before != "" {
				if err := os.WriteFile(todo, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			words := strings.Join([]string{openssh.Quote(culvert(t)), "exec", "--ssh", "true", "--failed", openssh.Quote(todo), "'dev-*'", "-- true"}, " ")
			cmd := site.command(t, script, "-q", "-e", "-c", words, "/dev/null")
			cmd.Stdin = strings.NewReader("n\n")
			out, _ := cmd.CombinedOutput()
			after, err := os.ReadFile(todo)
			if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "2 devices need a tunnel each") {
				t.Errorf("exit code %d\n%s", code, out)
			}
			if before == "" && !os.IsNotExist(err) || string(after) != before {
				t.Errorf("the file was %q, and is %q, %v", before, after, err)
			}
		}
	})
	t.Run("after a kill", func(t *testing.T) {
		todo := filepath.Join(t.TempDir(), "todo")
		program := fakeSSH(t, "[ $thing = dev-001 ] || "+whileThere(t))
		cmd := site.culvert(t, "exec", "--ssh", program, "--yes", "--failed", todo, "dev-001", "dev-002", "--", "true")
		var errs harness.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 60*time.Second, "the first has ended", func() bool {
			return strings.Contains(errs.String(), "culvert: dev-001 ended with exit code 0 after ")
		})
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		out, said, code := runSSH(site.culvert(t, "exec", "--ssh", fakeSSH(t, "echo well"), "--things", todo, "--failed", todo, "--", "true"))
		if code != 0 || out != "dev-002: well\n" {
			t.Errorf("exit code %d\n%s%s", code, out, said)
		}
		if left := readText(t, todo); left != "" {
			t.Errorf("left to do: %q", left)
		}
	})
}

// TestExecCannotBeForged: what a device prints neither steers the terminal nor passes for another device's output.
func TestExecCannotBeForged(t *testing.T) {
	t.Parallel()
	site := startPlainFleet(t, 1)
	const said = "10%\r\x1b[2Kdev-002: ok\u009b1A\u202e\x7f\n"
	text := filepath.Join(t.TempDir(), "said")
	if err := os.WriteFile(text, []byte(said), 0o600); err != nil {
		t.Fatal(err)
	}
	program := fakeSSH(t, "cat "+text)
	args := []string{"exec", "--ssh", program, "dev-001", "--", "true"}
	t.Run("a terminal", func(t *testing.T) {
		words := []string{openssh.Quote(culvert(t))}
		for _, w := range args {
			words = append(words, openssh.Quote(w))
		}
		cmd := site.command(t, requireProgram(t, "script"), "-q", "-e", "-c", strings.Join(words, " "), "/dev/null")
		out, _ := startTyping(t, cmd)
		err := cmd.Wait()
		if err != nil || !strings.Contains(out.String(), "dev-001: 10%\r\ndev-001: \ufffd[2Kdev-002: ok\ufffd1A\ufffd\ufffd\r\n") {
			t.Errorf("%v\n%q", err, out.String())
		}
	})
	t.Run("a pipe", func(t *testing.T) {
		if out, errs, code := runSSH(site.culvert(t, args...)); code != 0 || out != "dev-001: "+said {
			t.Errorf("exit code %d, %q\n%s", code, out, errs)
		}
	})
	t.Run("JSON", func(t *testing.T) {
		out, errs, code := runSSH(site.culvert(t, slices.Insert(slices.Clone(args), 1, "--json")...))
		var r struct{ Stdout string }
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Stdout != said || code != 0 {
			t.Errorf("exit code %d, %v, %q\n%s", code, err, out, errs)
		}
		if i := strings.IndexFunc(strings.TrimSuffix(out, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q holds %q", out, out[i:])
		}
	})
}

func TestExecShowsThePriceWithoutAQuestion(t *testing.T) {
	t.Parallel()
	site := startPlainFleet(t, 2)
	program := fakeSSH(t)
	for want, args := range map[string][]string{
		"culvert: 2 devices need a tunnel each, at 1.50 each up to 3.00; open ones are used again\n": {"--yes", "dev-*"},
		"culvert: 1 device needs a tunnel, at 1.50; an open one is used again\n":                     {"dev-001"},
	} {
		_, errs, code := runSSH(site.culvert(t, append(append([]string{"exec", "--ssh", program, "--price", "1.5"}, args...), "--", "true")...))
		before, _, _ := strings.Cut(errs, " ended with exit code 0")
		if code != 0 || !strings.Contains(before, want) {
			t.Errorf("exit code %d, want %q in\n%s", code, want, errs)
		}
	}
}
