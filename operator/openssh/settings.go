package openssh

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Settings asks the ssh program which settings hold for c, where defaults, "Name value" each, hold for
// what neither the command line nor the user's configuration sets. It returns ssh's answer by
// lower-case name, or nil if ssh does not answer, as for a broken command line: ssh explains that itself
// when it runs.
func Settings(ctx context.Context, program string, c Command, defaults ...string) map[string]string {
	_, thing, err := c.Thing()
	if err != nil {
		return nil
	}
	// ssh takes the first value that it finds: defaults come last, behind the files that it would read.
	options, files := configuration(c.Options)
	var text strings.Builder
	for _, file := range files {
		text.WriteString("Include \"" + file + "\"\n")
	}
	text.WriteString("Host *\n")
	for _, d := range defaults {
		text.WriteString("    " + d + "\n")
	}
	f, err := os.CreateTemp("", "culvert-ssh-*")
	if err != nil {
		return nil
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text.String())
	if closeErr := f.Close(); err != nil || closeErr != nil {
		return nil
	}
	args := append([]string{"-G", "-F", f.Name()}, options...)
	args = append(append(args, thing), leadingOptions(c.Rest)...)
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return nil
	}
	settings := map[string]string{}
	for line := range bytes.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if _, seen := settings[name]; !seen {
			settings[name] = value
		}
	}
	return settings
}

// configuration takes -F out of options, and returns the files that ssh would read.
func configuration(options []string) (others, files []string) {
	files = []string{"~/.ssh/config", systemFile(runtime.GOOS)}
	for i := 0; i < len(options); i++ {
		file, joined := strings.CutPrefix(options[i], "-F")
		if !joined {
			others = append(others, options[i])
			if wantsNext(options[i]) && i+1 < len(options) {
				i++
				others = append(others, options[i])
			}
			continue
		}
		if file == "" && i+1 < len(options) {
			i++
			file = options[i]
		}
		files = nil
		if strings.EqualFold(file, "none") {
			continue
		}
		if absolute, err := filepath.Abs(file); err == nil {
			file = absolute
		}
		files = []string{file}
	}
	return others, files
}

// systemFile is the configuration of all users.
func systemFile(goos string) string {
	if goos == "windows" {
		return strings.ReplaceAll(os.Getenv("ProgramData"), `\`, "/") + "/ssh/ssh_config"
	}
	return "/etc/ssh/ssh_config"
}

// leadingOptions returns the options in front of the remote command.
func leadingOptions(rest []string) []string {
	_, c := Split(rest, func(string) bool { return false })
	return c.Options
}
