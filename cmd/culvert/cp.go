package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/operator/transfer"
)

// cpOptions are the flags of culvert cp.
type cpOptions struct {
	sshOptions

	recursive, preserve, follow bool
	json, noProgress            bool
	check                       string
	retry                       time.Duration
	sshSettings, identities     []string
	sshConfig                   string
}

func newCpCommand() *cobra.Command {
	var o cpOptions
	cmd := &cobra.Command{
		Use:   "cp [flags] SOURCE ... TARGET",
		Short: "Copy files to and from a device",
		Long: "Copies files by the device's sshd (SFTP), with the real ssh and its keys, agent and configuration. One side is " +
			"[USER@]THING:PATH, where PATH may be a pattern; a path that does not begin with / starts at the user's home. A local path with a " +
			"colon is written ./PATH, and a thing whose name has one [THING]:PATH.\n\n" +
			"Both ends hash the copy (SHA-256, with sha256sum or the like on the device). A file takes its name when it is " +
			"complete and verified; an older file stays until then. After an interruption run the same command again: it " +
			"verifies the part that had arrived, sends the rest, and skips files that are there already with the same content.\n\n" +
			"If TARGET is a directory, files go into it by their names. Links in directories are copied as links. Owners and " +
			"set-user-ID bits are not copied.\n\n" +
			"Exit codes: 0 everything was copied, 1 something failed, 2 wrong usage, 4 the device did not connect in time, 5 the tunnel " +
			"was closed, has expired or was taken over, 130 interrupted.",
		Example: "  culvert cp firmware.bin pi-1:\n" +
			"  culvert cp -rp site admin@pi-7:/srv/www\n" +
			"  culvert cp 'pi-1:/var/log/*.log' logs/",
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.recursive, "recursive", "r", false, "copy directories")
	f.BoolVarP(&o.preserve, "preserve", "p", false, "keep times, and modes in spite of the umask")
	f.BoolVarP(&o.follow, "dereference", "L", false, "copy the targets of links in directories, not the links")
	f.StringVar(&o.check, "check", "auto", "`how` to verify copies: sha256, by hashing at both ends; read, by reading the device's file back; size; auto: sha256, or size if the device cannot hash")
	f.DurationVar(&o.retry, "retry", 2*time.Minute, "`time` since the last progress for which to try again after a lost connection; 0 gives up at once")
	f.BoolVar(&o.json, "json", false, "print an object for each file, for the progress once a second, and for the end, one a line")
	f.BoolVar(&o.noProgress, "no-progress", false, "show no progress bar, and print no progress with --json")
	f.StringArrayVarP(&o.identities, "identity", "i", nil, "`file` of a key, for ssh")
	f.StringVarP(&o.sshConfig, "ssh-config", "F", "", "`file` that ssh reads instead of its configuration files")
	f.StringArrayVarP(&o.sshSettings, "ssh-option", "o", nil, "`Name=value` for ssh; repeat it for more")
	f.StringVar(&o.service, "service", defaultService, "`name` of the tunnel's service that is ssh")
	f.StringVar(&o.program, "ssh", "ssh", "ssh `program` to run")
	o.share.register(f)
	o.register(f)
	reachHelp(cmd)
	cmd.ValidArgsFunction = completePlaces
	_ = cmd.RegisterFlagCompletionFunc("check", cobra.FixedCompletions([]string{"auto", "sha256", "read", "size"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

// run reads and checks what to copy, before it opens a tunnel.
func (o *cpOptions) run(cmd *cobra.Command, args []string) error {
	r := &cpRun{cpOptions: o, out: cmd.OutOrStdout()}
	if err := r.parse(args); err != nil {
		return usagef(cmd, "%w", err)
	}
	var err error
	if r.path, err = exec.LookPath(o.program); err != nil {
		return &exitError{exitFailed, hint.Wrap(fmt.Errorf("ssh: %w", err), "install OpenSSH's client, or name it with --ssh")}
	}
	if err := r.lookHere(); err != nil {
		return &exitError{exitFailed, err}
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	cmd.SetContext(ctx)
	r.show = newProgress(cmd.ErrOrStderr(), o.isQuiet)
	defer r.show.end()
	return r.all(ctx, cmd)
}

// parse reads the sources and the target, and groups the sources by thing.
func (r *cpRun) parse(args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("the files to copy and the target are missing")
	case len(args) == 1:
		return errors.New("the target is missing: it is the last argument; . is this directory")
	case !slices.Contains([]string{"auto", "sha256", "read", "size"}, r.check):
		return fmt.Errorf("--check %q: auto, sha256, read and size are known", r.check)
	case r.retry < 0:
		return fmt.Errorf("--retry %v is negative; 0 gives up at once", r.retry)
	}
	all := make([]transfer.Location, 0, len(args))
	for _, arg := range args {
		l, err := transfer.Parse(arg)
		if err != nil {
			return err
		}
		if l.IsRemote() {
			c := openssh.Command{Destination: l.Destination()}
			if _, _, err := c.Thing(); err != nil {
				return err
			}
		}
		all = append(all, l)
	}
	last := len(all) - 1
	r.target, r.sources = all[last], all[:last]
	claimed := map[string]string{}
	for _, s := range r.sources {
		switch {
		case s.IsRemote() && r.target.IsRemote():
			return hint.Wrap(fmt.Errorf("%s and %s are both on things", s, r.target), "copy it to this machine first, and from here to the other thing")
		case !s.IsRemote() && !r.target.IsRemote():
			return hint.Wrap(fmt.Errorf("neither %s nor %s is on a thing", s, r.target), "one side is written THING:PATH; between local paths, use cp")
		}
		i := slices.IndexFunc(r.copiers, func(c *transfer.Copier) bool { return c.Sources[0].Destination() == s.Destination() })
		if i < 0 {
			i = len(r.copiers)
			r.copiers = append(r.copiers, &transfer.Copier{
				Options: transfer.Options{Recursive: r.recursive, Preserve: r.preserve, Follow: r.follow, Check: transfer.Check(r.check)},
				Target:  r.target, Many: last > 1, Claimed: claimed, Report: r.report,
			})
		}
		r.copiers[i].Sources = append(r.copiers[i].Sources, s)
	}
	return nil
}

// lookHere returns an error if this machine can copy none of the sources, or has no directory for the target.
func (r *cpRun) lookHere() error {
	if !r.target.IsRemote() {
		info, err := os.Stat(r.target.Path)
		if err == nil && info.IsDir() {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		parent := filepath.Dir(r.target.Path)
		if _, err := os.Stat(parent); err != nil {
			return fmt.Errorf("the directory of %s: %w", r.target.Path, err)
		}
		return nil
	}
	var first error
	for _, s := range r.sources {
		info, err := os.Stat(s.Path)
		if err == nil && info.IsDir() && !r.recursive {
			err = hint.New(s.Path+" is a directory", "-r copies directories")
		}
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
