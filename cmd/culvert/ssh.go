package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/openssh"
)

// exitNoConnection is ssh's exit code when it could not connect.
const exitNoConnection = 255

// sshOptions are the flags of culvert ssh.
type sshOptions struct {
	reachOptions

	service, program string
}

func newSSHCommand() *cobra.Command {
	var o sshOptions
	cmd := &cobra.Command{
		Use:   "ssh [flags] [SSH-OPTION ...] [USER@]THING [SSH-ARGUMENT ...]",
		Short: "Run ssh on a device",
		Long: "Opens the way to the thing and then runs the real ssh on it, so that keys, agent, known " +
			"hosts, ControlMaster and everything in ~/.ssh/config work as usual. Known hosts go by the " +
			"thing's name unless HostKeyAlias says otherwise, and Compression is on unless it is " +
			"turned off.\n\n" +
			"Long flags are culvert's. Short ones, in front of the thing's name and behind it, and " +
			"everything behind it are ssh's: rsync -e 'culvert ssh' and GIT_SSH_COMMAND='culvert ssh' " +
			"work.\n\n" +
			"It uses the tunnel that other commands of yours hold, an open one without a source, " +
			"or opens one, and waits for the device. " + sharingHelp + "\n\n" +
			"The exit code is ssh's: that of the remote command, or 255 if there was no connection; 2 " +
			"after wrong usage of culvert's own flags.",
		Example: "  culvert ssh pi-1\n" +
			"  culvert ssh admin@pi-1 uname -a\n" +
			"  culvert ssh -L 8080:localhost:80 -N pi-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, c := openssh.Split(args, func(string) bool { return false })
			if c.Destination == "" && !c.Has("QV") || strings.HasPrefix(c.Destination, "-") {
				return usagef(cmd, "which thing?")
			}
			return o.run(cmd, c)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.service, "service", defaultService, "`name` of the tunnel's service that is ssh")
	f.StringVar(&o.program, "ssh", "ssh", "ssh `program` to run")
	o.share.register(f)
	o.register(f)
	f.Lookup("quiet").Shorthand = "" // -q is ssh's; Arguments sees to both
	reachHelp(cmd)
	cmd.ValidArgsFunction = completeThings(1)
	return cmd
}

// sshArguments puts culvert's own flags of "culvert ssh" in front of a "--", and ssh's behind it.
func sshArguments(args []string) []string {
	if len(args) == 0 || args[0] != "ssh" {
		return args
	}
	flags := newSSHCommand().Flags()
	own, c := openssh.Split(args[1:], func(name string) bool {
		f := flags.Lookup(name)
		return f != nil && f.NoOptDefVal == ""
	})
	switch {
	case c.Has("h"):
		own = append(own, "--help")
	case c.Has("q"):
		own = append(own, "--quiet")
	}
	out := append(append([]string{"ssh"}, own...), "--")
	out = append(out, c.Options...)
	if c.Destination != "" {
		out = append(append(out, "--", c.Destination, "--"), c.Rest...)
	}
	return out
}

// run finds out which settings of the user's hold, opens the way, and becomes ssh.
func (o *sshOptions) run(cmd *cobra.Command, c openssh.Command) error {
	path, err := exec.LookPath(o.program)
	if err != nil {
		return &exitError{exitFailed, hint.Wrap(fmt.Errorf("ssh: %w", err), "install OpenSSH's client, or name it with --ssh; culvert connect needs none")}
	}
	words, err := connectWords(cmd.Flags())
	if err != nil {
		return err
	}
	argv := append(append([]string{o.program}, c.Options...), c.Rest...)
	if c.Destination != "" {
		args, err := o.arguments(cmd, words, path, c)
		if e, ok := errors.AsType[*exitError](err); ok && e.code != exitInterrupted && e.code != exitUsage {
			return &exitError{exitNoConnection, e.err}
		}
		if err != nil {
			return err
		}
		argv = append([]string{o.program}, args...)
	}
	err = runInstead(path, argv)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{exit.ExitCode(), nil}
	}
	return err
}

// arguments opens the way to c's thing, unless ssh does not need it, and returns ssh's arguments for it. more returns
// settings that depend on the user's own.
func (o *sshOptions) arguments(cmd *cobra.Command, words []string, path string, c openssh.Command, more ...func(found map[string]string) []string) ([]string, error) {
	_, thing, err := c.Thing()
	if err != nil {
		return nil, usagef(cmd, "%w", err)
	}
	found := openssh.Settings(cmd.Context(), path, c, "HostKeyAlias "+thing, "Compression yes", "ServerAliveInterval 0")
	var settings []string
	// If ssh prints no settings, it will complain about its options, which needs no tunnel.
	if found != nil && !c.Has("GOQV") && !sshHasMaster(cmd.Context(), path, found, c) {
		if settings, err = o.openFirst(cmd, words, thing, isMasterToBe(found)); err != nil {
			return nil, err
		}
	}
	for _, f := range more {
		settings = append(settings, f(found)...)
	}
	settings = append(settings, "HostKeyAlias="+cmp.Or(found["hostkeyalias"], thing), "Compression="+cmp.Or(found["compression"], "yes"),
		// ssh's own probe would end a connection that outlives a lost link.
		"ServerAliveInterval="+cmp.Or(found["serveraliveinterval"], "0"))
	args, err := openssh.Arguments(words, c, o.service, settings...)
	if err != nil {
		return nil, usagef(cmd, "%w", err)
	}
	return args, nil
}

// openFirst opens the way before ssh starts, whose own complaint about a ProxyCommand that failed says nothing. It returns
// settings for ssh.
//
// Mostly it goes as far as the service. But a process of culvert's own would keep standard error open while an ssh in the
// background does not, and what reads it, such as a pipe, would wait for that to end. So if this ssh becomes a master
// for later ones, it runs its ProxyCommand itself, and only the tunnel is made ready.
func (o *sshOptions) openFirst(cmd *cobra.Command, words []string, thing string, master bool) (settings []string, err error) {
	if err := o.share.resolve(cmd.Flags()); err != nil {
		return nil, reachError(cmd, err)
	}
	if !o.isShared() || !master {
		return openOwn(words, thing, o.service)
	}
	// No handler is left when this process becomes ssh.
	ctx, stop := notifyContext(cmd.Context())
	defer stop()
	show := newProgress(cmd.ErrOrStderr(), o.isQuiet)
	defer show.end()
	cfg, err := o.config(ctx, show, cmd.ErrOrStderr())
	var t tunnel
	if err == nil {
		t, err = o.attach(ctx, cmd, cfg, show, thing, []string{o.service})
	}
	if e, ok := errors.AsType[*notSharedError](err); ok {
		show.note("%v", e)
		show.end()
		stop()
		return openOwn(append(slices.Clone(words), "--no-share"), thing, o.service)
	}
	if err == nil {
		// The holder waits for ssh's own connection from here on.
		return nil, t.Close()
	}
	show.end()
	return nil, reachError(cmd, err)
}

// isMasterToBe reports whether ssh will stay in the background for later ones.
func isMasterToBe(settings map[string]string) bool {
	isSet := func(name string) bool { return !slices.Contains([]string{"", "no", "none"}, settings[name]) }
	return isSet("controlpath") && isSet("controlpersist")
}

// sshHasMaster reports whether ssh will use the connection of a master that runs already.
func sshHasMaster(ctx context.Context, path string, settings map[string]string, c openssh.Command) bool {
	if socket := settings["controlpath"]; socket == "" || socket == "none" {
		return false
	}
	user, thing, err := c.Thing()
	if err != nil {
		return false
	}
	args := append([]string{"-O", "check"}, c.Options...)
	if user != "" {
		args = append(args, "-l", user)
	}
	return exec.CommandContext(ctx, path, append(args, thing)...).Run() == nil
}

// connectWords returns the words of culvert connect --stdio, with those of the given flags that say how to reach a
// thing.
func connectWords(flags *pflag.FlagSet) ([]string, error) {
	self, err := ownPath()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	var o reachOptions
	reach := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.share.register(reach)
	o.register(reach)
	return append([]string{self, "connect", "--stdio"}, knownWords(reach, flags)...), nil
}

// knownWords are the flags that were given and that are known.
func knownWords(known, given *pflag.FlagSet) (words []string) {
	given.Visit(func(f *pflag.Flag) {
		if known.Lookup(f.Name) != nil {
			words = append(words, connectWord(f.Name, f.Value.String()))
		}
	})
	return words
}

// connectWord is a flag as one word, for a program that may run elsewhere.
func connectWord(name, value string) string {
	if name == "ca-bundle" {
		if absolute, err := filepath.Abs(value); err == nil && value != "" {
			value = absolute
		}
	}
	return "--" + name + "=" + value
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
