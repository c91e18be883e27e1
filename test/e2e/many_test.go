package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var updateMany = flag.Bool("many", false, "write what the commands of docs/many.md print into it")

// shownCommand is a command of a page after its prompt, with the output that the page shows.
type shownCommand struct{ line, output string }

// shownCommands reads the commands with a prompt in a page's code blocks, in their order.
func shownCommands(page string) (list []shownCommand) {
	for i, block := range strings.Split(page, "```") {
		if i%2 == 0 {
			continue
		}
		for _, part := range strings.Split(block, "\n$ ")[1:] {
			line, output, _ := strings.Cut(part, "\n")
			list = append(list, shownCommand{line, strings.TrimRight(output, "\n")})
		}
	}
	return list
}

// volatileFigures are the parts of an output that differ in each run.
var volatileFigures = []struct{ form, name string }{
	{`\n {18}(\S)`, ` $1`}, // a line break that moved with one of the parts above
	{`127\.0\.0\.1:\d+`, `127.0.0.1:PORT`},
	{`\b[0-9a-f]{8}…`, `ID…`},
	{`"seconds":[\d.]+`, `"seconds":TIME`},
	{`\b\d[\d.]* ?(ms|s|min|h)\b *`, `TIME `},
}

// startupNoise matches a device's line that the start-up files of this machine's user may have printed.
var startupNoise = regexp.MustCompile(`(?m)^dev-\d{4}: .*\n|,"stderr":"[^"]*"`)

func steadyOutput(line, output string) string {
	for _, v := range volatileFigures {
		output = regexp.MustCompile(v.form).ReplaceAllString(output, v.name)
	}
	if strings.HasPrefix(line, "culvert exec ") { // devices end in any order
		lines := strings.Split(output, "\n")
		slices.Sort(lines)
		output = strings.Join(lines, "\n")
	}
	return strings.TrimSpace(output)
}

// TestThePageOfManyDevicesIsTrue runs all commands of docs/many.md in the sandbox of that page, and compares their
// output with the page. To write the page's outputs anew: go test ./test/e2e -run ManyDevices -many
func TestThePageOfManyDevicesIsTrue(t *testing.T) {
	t.Parallel()
	requireProgram(t, "ssh")
	requireSSHD(t)
	const path, mark = "../../docs/many.md", "=== what came next ==="
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	commands := shownCommands(page)
	if len(commands) < 10 {
		t.Fatalf("the page shows %d commands", len(commands))
	}
	const start = "culvert sandbox --things 10 --dir box --shell"
	if !strings.Contains(page, "\n"+start+"\n") {
		t.Fatalf("the page does not say %s", start)
	}
	var script strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&script, "echo '%s'\n{ %s ; } 2>&1 </dev/null\n", mark, c.line)
	}
	dir := shortDir(t)
	words := strings.Fields(start)
	cmd := exec.CommandContext(t.Context(), culvert(t), words[1:]...)
	cmd.Dir = dir
	cmd.Env = cleanEnv("PATH="+filepath.Dir(culvert(t))+":"+os.Getenv("PATH"), "HOME="+dir, "TERM=xterm", "SHELL=/bin/sh",
		"XDG_RUNTIME_DIR="+dir, "CULVERT_PERSIST=0", "NO_PROXY=*")
	cmd.Stdin = strings.NewReader(script.String())
	out, errs, _ := runSSH(cmd)
	got := strings.Split(out, mark+"\n")[1:]
	if len(got) != len(commands) {
		t.Fatalf("%d of %d commands were run\n%s%s", len(got), len(commands), out, errs)
	}
	for i, c := range commands {
		now := strings.TrimRight(got[i], "\n")
		if *updateMany {
			was := strings.TrimRight("$ "+c.line+"\n"+c.output, "\n")
			page = strings.Replace(page, was+"\n", strings.TrimRight("$ "+c.line+"\n"+now, "\n")+"\n", 1)
			continue
		}
		now = startupNoise.ReplaceAllStringFunc(now, func(line string) string {
			if strings.Contains(c.output+"\n", line) {
				return line
			}
			return ""
		})
		if is, shown := steadyOutput(c.line, now), steadyOutput(c.line, c.output); is != shown {
			t.Errorf("%s prints\n%s\nand the page shows\n%s", c.line, is, shown)
		}
	}
	if *updateMany {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
