package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/operator/openssh"
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
			words, err := connectWords(cmd.Flags())
			if err != nil {
				return err
			}
			argv, err := openssh.Arguments(words, args[0], service, args[1:])
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

// connectWords are the words of culvert connect --stdio with the flags that were given and that it knows.
func connectWords(flags *pflag.FlagSet) ([]string, error) {
	self, err := ownPath()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	words := []string{self, "connect", "--stdio"}
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
		words = append(words, "--"+f.Name+"="+value)
	})
	return words, nil
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
