package awscli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/operator"
)

// Exit codes, those of the AWS CLI (user guide, return codes).
const (
	exitInterrupted   = 130
	exitUsage         = 252 // wrong usage or parameters; nothing was sent
	exitConfiguration = 253 // files, environment, credentials, region
	exitService       = 254 // the service refused
	exitOther         = 255
)

// Error is an error as a command ends with it: one line, what to do, and the exit code.
type Error struct {
	Code   int
	Text   string
	Advice string // may be empty
}

func (e *Error) Error() string { return e.Text }

// explain makes an Error of any error.
func explain(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		return &Error{Code: exitUsage, Text: e.Error(), Advice: cmd.CommandPath() + " --help"}
	}
	if cmd.Context().Err() != nil {
		return &Error{Code: exitInterrupted, Text: "interrupted"}
	}
	p := operator.Explain(err)
	codes := map[operator.Kind]int{operator.Service: exitService, operator.Configuration: exitConfiguration}
	code, ok := codes[p.Kind]
	if !ok {
		code = exitOther
	}
	return &Error{Code: code, Text: p.Text, Advice: p.Hint}
}

// note tells the user something that is no error.
func note(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "culvert: "+format+"\n", args...)
}

// Report writes an error of this package for the user and returns the exit code; false if it is not one of them.
func Report(w io.Writer, err error) (code int, ok bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return 0, false
	}
	fmt.Fprintf(w, "culvert: %s\n", e.Text)
	if e.Advice != "" {
		fmt.Fprintf(w, "hint: %s\n", e.Advice)
	}
	return e.Code, true
}
