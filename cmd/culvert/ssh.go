package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/services"
)

func newSSHCommand() *cobra.Command {
	var o reachOptions
	var service, program string
	cmd := &cobra.Command{
		Use:   "ssh [flags] [USER@]THING [-- SSH-ARGUMENT ...]",
		Short: "Run ssh on a device",
		Long: "Runs the real ssh, with culvert connect as its ProxyCommand, so that keys, agent, " +
			"known hosts, ControlMaster and everything in ~/.ssh/config work as ever. The host is " +
			"known to all of them by the thing's name. What follows -- goes to ssh: its options, and " +
			"a command to run.\n\n" +
			"The exit code is ssh's: that of the remote command, or 255 if there was no connection.",
		Example: "  culvert ssh pi-1\n" +
			"  culvert ssh admin@pi-1 -- uname -a\n" +
			"  culvert ssh pi-1 -- -L 8080:localhost:80 -N",
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			switch {
			case len(args) == 0 || dash == 0:
				return usagef(cmd, "which thing?")
			case len(args) > 1 && dash != 1:
				return usagef(cmd, "what is meant for ssh goes behind --: culvert ssh %s -- %s", args[0], strings.Join(args[1:], " "))
			}
			argv, err := sshArguments(cmd.Flags(), args[0], service, args[1:])
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			path, err := exec.LookPath(program)
			if err != nil {
				return &exitError{exitFailed, hinted(fmt.Sprintf("ssh: %v", err), "install OpenSSH's client, or name it with --ssh; culvert connect needs none")}
			}
			err = runInstead(path, append([]string{program}, argv...))
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return &exitError{exit.ExitCode(), nil}
			}
			return err
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef(cmd, "%w; options of ssh go behind --: culvert ssh THING -- OPTION ...", err)
	})
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&service, "service", defaultService, "`name` of the tunnel's service that is ssh")
	f.StringVar(&program, "ssh", "ssh", "ssh `program` to run")
	o.register(f)
	reachHelp(cmd)
	return cmd
}

// sshArguments are ssh's: how to reach the thing, whom to log in as, and the user's own.
func sshArguments(flags *pflag.FlagSet, destination, service string, rest []string) ([]string, error) {
	user, thing, isUser := strings.Cut(destination, "@")
	if !isUser {
		user, thing = "", destination
	}
	if !services.ValidName(thing) || strings.HasPrefix(thing, "-") || strings.HasPrefix(destination, "-") {
		return nil, fmt.Errorf("%q is no THING or USER@THING: a thing's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", destination)
	}
	if !services.ValidName(service) {
		return nil, fmt.Errorf("--service %q: a service's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", service)
	}
	proxy, err := proxyCommand(flags, thing, service)
	if err != nil {
		return nil, err
	}
	args := []string{"-o", "ProxyCommand=" + proxy, "-o", "HostKeyAlias=" + thing}
	if user != "" {
		args = append(args, "-l", user)
	}
	return append(append(args, thing), rest...), nil
}

// proxyCommand is a ProxyCommand of ssh for a service of a thing, with the flags that were given.
func proxyCommand(flags *pflag.FlagSet, thing, service string) (string, error) {
	self, err := ownPath()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	args := []string{self, "connect", "--stdio"}
	known := newConnectCommand().Flags()
	flags.Visit(func(f *pflag.Flag) {
		if known.Lookup(f.Name) == nil {
			return
		}
		value := f.Value.String()
		if f.Name == "ca-bundle" { // ssh may be run elsewhere
			if absolute, err := filepath.Abs(value); err == nil && value != "" {
				value = absolute
			}
		}
		args = append(args, "--"+f.Name+"="+value)
	})
	args = append(args, "--", thing, service)
	for i, a := range args {
		if a != "%n" {
			a = strings.ReplaceAll(a, "%", "%%") // ssh puts names in where % stands
		}
		args[i] = proxyQuote(a)
	}
	return strings.Join(args, " "), nil
}

// ownPath is where this program is: by the name that it has in PATH, if that leads to it, which outlives updates that
// put each version into a directory of its own.
func ownPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if known, err := exec.LookPath(filepath.Base(os.Args[0])); err == nil && filepath.IsAbs(known) && sameFile(self, known) {
		return known, nil
	}
	return self, nil
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// proxyQuote makes one word of s for whoever runs ProxyCommands: the user's shell, or on Windows ssh itself.
func proxyQuote(s string) string {
	if runtime.GOOS != "windows" {
		return shellQuote(s)
	}
	if strings.ContainsAny(s, " \t") {
		return `"` + s + `"`
	}
	return s
}
