package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli"
	"github.com/culvert-iot/culvert/internal/version"
)

// Groups of commands, in the order in which --help shows them.
var groups = []cobra.Group{
	{ID: groupTry, Title: "Try it, without an account:"},
	{ID: groupSetup, Title: "Set up a device:"},
	{ID: groupReach, Title: "Reach a device:"},
	{ID: groupFind, Title: "Find and diagnose devices:"},
	{ID: groupMany, Title: "Work on many devices:"},
	{ID: groupTunnels, Title: "Manage tunnels, like aws iotsecuretunneling:"},
	{ID: groupAbout, Title: "About culvert:"},
}

const (
	groupReach   = "reach"
	groupFind    = "find"
	groupMany    = "many"
	groupSetup   = "setup"
	groupTunnels = "tunnels"
	groupTry     = "try"
	groupAbout   = "about"
)

// quick are the commands that start often, or live long beside others.
var quick = map[string]func() *cobra.Command{
	"ssh": newSSHCommand, "connect": newConnectCommand, "handover": newHandoverCommand, "hold": newHoldCommand,
}

// newRootFor builds only the part of the command line that args need: all of it takes milliseconds and memory.
func newRootFor(args []string) *cobra.Command {
	if len(args) > 0 {
		if command, ok := quick[args[0]]; ok {
			root := newBareRoot()
			add(root, groupReach, command())
			return finishRoot(root)
		}
	}
	return newRoot()
}

// newBareRoot builds the command line without its commands.
func newBareRoot() *cobra.Command {
	root := &cobra.Command{
		Use:                   "culvert COMMAND [options]",
		DisableFlagsInUseLine: true,

		Short: "Reach devices behind firewalls through AWS IoT Secure Tunneling",
		Long: "Culvert reaches devices behind firewalls through AWS IoT Secure Tunneling.\n" +
			"This is the operator's command; the device's daemon is culvertd.",
		Example: "  culvert demo                             see it work, in a few seconds\n" +
			"  culvert setup-thing my-pi                register a device with AWS IoT\n" +
			"  culvert ssh my-pi                        a shell on the device\n" +
			"  culvert connect my-pi                    its services on local ports\n" +
			"  culvert list-tunnels --output table      the account's tunnels",
		Version:       version.Get().String(),
		SilenceErrors: true, // run prints them, once
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{command: cmd.CommandPath(), err: fmt.Errorf("there is no command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate(versionTemplate)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(rootUsage)
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	for i := range groups {
		root.AddGroup(&groups[i])
	}
	return root
}

// newRoot builds the whole command line.
func newRoot() *cobra.Command {
	root := newBareRoot()
	add(root, groupTry, newSandboxCommand(), newDemoCommand())
	add(root, groupSetup, newSetupThingCommand())
	add(root, groupReach, newSSHCommand(), newCpCommand(), newConnectCommand(), newSSHConfigCommand(), newTunnelsCommand(), newProxyCommand())
	add(root, groupFind, newLsCommand(), newPingCommand(), newDoctorCommand())
	add(root, groupMany, newExecCommand(), newInventoryCommand())
	add(root, groupTunnels, awscli.Commands()...)
	add(root, groupAbout, newVersionCommand(), newManCommand(), newHandoverCommand(), newHoldCommand())
	return finishRoot(root)
}

// finishRoot adds the flags and texts that all commands have.
func finishRoot(root *cobra.Command) *cobra.Command {
	for _, c := range root.Commands() {
		addVersionFlag(c)
		completeThingFlags(c, "thing", "thing-name", "close")
		noteConnectivity(c)
	}
	root.SetHelpCommandGroupID(groupAbout)
	root.SetCompletionCommandGroupID(groupAbout)
	return root
}

// rootUsage is cobra's template without the parts that the root command lacks.
const rootUsage = `Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND --help{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{$cmds := .Commands}}{{range .Groups}}

{{.Title}}{{$group := .ID}}{{range $cmds}}{{if and (eq .GroupID $group) (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if and .HasAvailableSubCommands (not .Groups)}}

Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// addVersionFlag gives a command --version, like the root command's. Commands that have one keep it.
func addVersionFlag(c *cobra.Command) {
	if c.Flags().Lookup("version") == nil {
		c.Version = version.Get().String()
		c.SetVersionTemplate(versionTemplate)
		c.Flags().Bool("version", false, "print culvert's version") // without cobra's -v
	}
}

// shortenCompletion fits the library's own command into 80 columns of help. Call it after SetOut: the library keeps the
// output that was set when it made the command.
func shortenCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Short = "Print completion of commands and flags for a shell"
			c.Example = "  source <(culvert completion bash)                        this shell\n" +
				"  culvert completion fish >~/.config/fish/completions/culvert.fish"
			addVersionFlag(c)
			for _, shell := range c.Commands() {
				addVersionFlag(shell)
				shell.Long = strings.Replace(shell.Long, "you can install it via your OS's package manager", "install it with your package manager", 1)
			}
		}
	}
}

// add puts commands under a group.
func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// usageError reports wrong usage of a command.
type usageError struct {
	command string // with its parents
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{command: cmd.CommandPath(), err: fmt.Errorf(format, args...)}
}

// noArgs is for commands that take flags only.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{command: cmd.CommandPath(), err: errors.New("it takes no arguments, only flags")}
	}
	return nil
}
