// Command culvert is the operator's end of AWS IoT Secure Tunneling, and the place to try it without an account:
// "culvert --help" lists what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli"
	"github.com/culvert-iot/culvert/internal/hint"
)

// Exit codes. Commands that stand in for other programs may have more of their own.
const (
	exitOK     = 0
	exitFailed = 1 // while running
	exitUsage  = 2 // wrong usage or configuration
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process around it, so that tests can be the command.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(append([]string{}, awscli.Arguments(root, sshArguments(args))...)) // nil would mean os.Args
	root.SetOut(stdout)
	root.SetErr(stderr)
	shortenCompletion(root)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return exitOK
	}
	if code, ok := awscli.Report(stderr, err); ok {
		return code
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprintf(stderr, "culvert: %v\n", err)
		if h := hint.Of(err); h != "" {
			fmt.Fprintf(stderr, "hint: %s\n", h)
		}
		fmt.Fprintf(stderr, "hint: %s --help\n", usage.command)
		return exitUsage
	}
	code := exitFailed
	if own, ok := errors.AsType[*exitError](err); ok {
		if code = own.code; own.err == nil {
			return code
		}
	}
	fmt.Fprintf(stderr, "culvert: %v\n", err)
	if h := hint.Of(err); h != "" {
		fmt.Fprintf(stderr, "hint: %s\n", h)
	}
	return code
}
