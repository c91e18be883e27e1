package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli"
	"github.com/culvert-iot/culvert/internal/version"
)

// Groups of commands, in the order in which --help shows them. A group shows up with its first command.
var groups = []cobra.Group{
	{ID: groupReach, Title: "Reach a device:"},
	{ID: groupSetup, Title: "Set up a device:"},
	{ID: groupTunnels, Title: "Tunnels, as the AWS CLI does it:"},
	{ID: groupTry, Title: "Try it, without an account:"},
	{ID: groupAbout, Title: "About culvert:"},
}

const (
	groupReach   = "reach"
	groupSetup   = "setup"
	groupTunnels = "tunnels"
	groupTry     = "try"
	groupAbout   = "about"
)

// newRoot builds the whole command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "culvert",
		Short: "Reach devices behind firewalls through AWS IoT Secure Tunneling",
		Long: "Culvert reaches devices behind firewalls through AWS IoT Secure Tunneling.\n" +
			"This is the operator's command; the device's daemon is culvertd.",
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
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%w", err) })
	add(root, groupReach, newSSHCommand(), newConnectCommand(), newLsCommand(), newPingCommand(), newDoctorCommand(), newSSHConfigCommand(), newProxyCommand())
	add(root, groupSetup, newSetupThingCommand())
	add(root, groupTunnels, awscli.Commands()...)
	add(root, groupTry, newSandboxCommand(), newDemoCommand())
	add(root, groupAbout, newVersionCommand(), newManCommand(), newHandoverCommand())
	root.SetHelpCommandGroupID(groupAbout)
	root.SetCompletionCommandGroupID(groupAbout)
	return root
}

// shortenCompletion fits the library's own command into 80 columns of help. It must come after SetOut: the library keeps
// the output of when the command was made.
func shortenCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Short = "Completion of commands and flags for a shell"
		}
	}
}

// add puts commands under a group.
func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
	present := map[string]bool{}
	for _, c := range root.Commands() {
		present[c.GroupID] = true
	}
	for i := range groups {
		if present[groups[i].ID] && !root.ContainsGroup(groups[i].ID) {
			root.AddGroup(&groups[i])
		}
	}
}

// usageError is an error in how a command was called.
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
