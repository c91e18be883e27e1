package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/suggest"
)

// Exit codes. Commands that stand in for other programs have more.
const (
	exitOK     = 0
	exitFailed = 1 // while running
	exitUsage  = 2 // wrong usage or configuration
)

// ownStderr is standard error for culvert itself and for the programs that it starts.
var ownStderr = os.Stderr

func main() {
	muteCredentialProcess()
	os.Exit(run(os.Args[1:], os.Stdout, ownStderr))
}

// muteCredentialProcess discards what a credential_process writes to standard error, which may hold secrets: tools
// trace requests and answers there. The AWS CLI keeps it off the terminal, too, so programs that ask for a code open
// /dev/tty. Showing it only on a terminal would be no better: terminals are recorded and shared.
//
// The SDK hands os.Stderr to the process, be it a profile's own or that of a role's source profile, and has no option
// for it. What else writes to os.Stderr in this program uses [ownStderr]; Go's panics do not need the variable.
func muteCredentialProcess() {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
}

// run is main for tests too.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRootFor(args)
	root.SetArgs(append([]string{}, awscli.Arguments(root, sshArguments(args))...)) // nil would mean os.Args
	root.SetOut(stdout)
	root.SetErr(stderr)
	shortenCompletion(root)
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		plainFlags(root)
	}
	err := unknownCommand(root, args)
	if err == nil {
		err = root.ExecuteContext(context.Background())
	}
	if err == nil {
		return exitOK
	}
	if code, ok := awscli.Report(stderr, err); ok {
		return code
	}
	code := exitFailed
	if own, ok := errors.AsType[*exitError](err); ok {
		if code = own.code; own.err == nil {
			return code
		}
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		code = exitUsage
		if h := hint.Of(err); !strings.Contains(h, "--help") {
			err = hint.Wrap(err, strings.TrimPrefix(h+"\n"+usage.command+" --help", "\n"))
		}
	}
	hint.Print(stderr, err)
	return code
}

// shells are the shells that culvert completion supports.
var shells = []string{"bash", "fish", "powershell", "zsh"}

// elsewhere maps what users look for among the commands to where it is.
var elsewhere = map[string]string{
	"sftp":        "culvert cp copies files; after culvert ssh-config, sftp knows the name, too",
	"rsync":       "culvert cp copies files; rsync itself works with rsync -e 'culvert ssh'",
	"things":      didYouMeanLs,
	"devices":     didYouMeanLs,
	"list-things": didYouMeanLs,
	"log":         logsAreThere,
	"logs":        logsAreThere,
}

const (
	didYouMeanLs = "did you mean culvert ls?"
	logsAreThere = "the log is on the device: culvert ssh THING journalctl -u culvertd"
)

// unknownCommand finds a mistyped command before cobra complains about its options.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return nil
	}
	name := args[0]
	if name == "completion" && len(args) > 1 && !strings.HasPrefix(args[1], "-") && !slices.Contains(shells, args[1]) {
		return &usageError{command: "culvert completion", err: fmt.Errorf("there is no completion for %q: the shells are %s", args[1], strings.Join(shells, ", "))}
	}
	if name == "help" && len(args) > 1 {
		return unknownCommand(root, args[1:])
	}
	if found, _, err := root.Find(args); err == nil && found != root || strings.HasPrefix(name, cobra.ShellCompRequestCmd) || name == "help" {
		return nil
	}
	advice := "culvert --help"
	if other := elsewhere[name]; other != "" {
		advice = other
	} else if slices.Contains([]string{"run", "status", "check", "init", "notify"}, name) {
		advice = "that is culvertd's, on the device: culvertd " + name
	} else if slices.Contains([]string{"start", "stop", "restart", "reload"}, name) {
		advice = "that is for the device: sudo systemctl " + name + " culvertd"
	} else if guess := suggest.Nearest(name, commandNames(root)); guess != "" {
		advice = fmt.Sprintf("did you mean culvert %s?", guess)
	}
	return hint.Wrap(&usageError{command: root.CommandPath(), err: fmt.Errorf("there is no command %q", name)}, advice)
}

func commandNames(root *cobra.Command) (names []string) {
	for _, c := range root.Commands() {
		if !c.Hidden {
			names = append(append(names, c.Name()), c.Aliases...)
		}
	}
	return names
}
