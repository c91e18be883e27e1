package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/sandbox"
)

// shellSSH makes a directory for the shell's PATH whose ssh knows the devices, by the fleet's configuration, and every
// other host as the user's own ssh does. So no command in the shell needs -F.
func shellSSH(config string, devices []string) (dir string, err error) {
	ssh, err := exec.LookPath("ssh")
	if err == nil {
		ssh, err = filepath.Abs(ssh)
	}
	if err != nil {
		return "", fmt.Errorf("find ssh: %w", err)
	}
	dir = filepath.Join(filepath.Dir(config), "bin")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	own := config + ".shell"
	text := fmt.Sprintf("Host %s\n  Include %q\nHost *\n  Include ~/.ssh/config\n  Include /etc/ssh/ssh_config\n", strings.Join(devices, " "), config)
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		return "", err
	}
	// ssh takes the last -F: the user's own counts more.
	text = fmt.Sprintf("#!/bin/sh\nexec %s -F %s \"$@\"\n", openssh.Quote(ssh), openssh.Quote(own))
	return dir, os.WriteFile(filepath.Join(dir, "ssh"), []byte(text), 0o700) //nolint:gosec // a program
}

// runShell runs the user's shell with the sandbox's environment until it ends or ctx is cancelled. The
// shell's exit code becomes the command's. sshDir is a directory for its PATH; may be "".
func runShell(ctx context.Context, a sandbox.Addresses, sshDir string, stdin, stdout, stderr *os.File) error {
	name := cmp.Or(os.Getenv("SHELL"), "/bin/sh")
	if runtime.GOOS == "windows" {
		name = cmp.Or(os.Getenv("COMSPEC"), "cmd.exe")
	}
	env, err := shellEnvironment(runtime.GOOS, os.Environ(), a, sshDir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, name) //nolint:gosec // the user's own shell
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = stdin, stdout, stderr, env
	// Ctrl-C and Ctrl-\ are for what runs in the shell. They are caught and not ignored, because the shell would inherit that.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGQUIT)
	defer signal.Stop(interrupts)

	err = cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok && ended.ExitCode() > 0 {
		return &exitError{code: ended.ExitCode()}
	}
	if err != nil && ctx.Err() == nil {
		return hint.Wrap(fmt.Errorf("run the shell %s: %w", name, err), "set SHELL to the path of a shell")
	}
	return nil
}

// shellEnvironment replaces what would lead the shell's programs elsewhere, and puts this program's
// directory and before it sshDir first in PATH, which Windows calls Path.
func shellEnvironment(goos string, from []string, a sandbox.Addresses, sshDir string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	set := environment(a)
	path := filepath.Dir(self) + string(os.PathListSeparator)
	if sshDir != "" {
		path = sshDir + string(os.PathListSeparator) + path
	}
	env := slices.DeleteFunc(slices.Clone(from), func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		if goos == "windows" {
			name = strings.ToUpper(name) // Windows ignores the case of names
		}
		if name == "PATH" {
			path += value
		}
		return name == "PATH" || strings.HasPrefix(name, "AWS_") || name == dataEndpointVariable
	})
	env = append(env, "PATH="+path)
	for _, v := range append(set, [2]string{"AWS_REGION", a.Region}) {
		env = append(env, v[0]+"="+v[1])
	}
	return env, nil
}
