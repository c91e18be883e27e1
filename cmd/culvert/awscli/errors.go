package awscli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/suggest"
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

// Error is how a command failed: an error of one line, often with a hint, and the exit code.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// explain makes an [Error] of any error.
func explain(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		return &Error{exitUsage, hint.Wrap(e, cmp.Or(hint.Of(err), Suggestion(cmd, err)+cmd.CommandPath()+" --help"))}
	}
	if cmd.Context().Err() != nil {
		return &Error{exitInterrupted, errors.New("interrupted")}
	}
	code := exitOther
	switch operator.KindOf(err) {
	case operator.Service:
		code = exitService
	case operator.Configuration:
		code = exitConfiguration
	case operator.Other:
	}
	return &Error{code, operator.Explain(err)}
}

// elsewhere maps options of other commands and programs, by command and name, to what this command has instead.
var elsewhere = map[string]string{
	"open-tunnel thing-name": "the thing is part of --destination-config thingName=NAME,services=SSH",
	"open-tunnel thing":      "the thing is part of --destination-config thingName=NAME,services=SSH",
	"open-tunnel services":   "services are part of --destination-config thingName=NAME,services=SSH",
	"connect p":              "a local port is SERVICE=PORT, as in culvert connect THING SSH=2222",
	"connect L":              "a local port is SERVICE=PORT, as in culvert connect THING HTTP=8080",
	"connect port":           "a local port is SERVICE=PORT, as in culvert connect THING SSH=2222",
	"ssh port":               "no port is needed, the device knows it; ssh's own option is -p",
	"ssh user":               "the user stands before the thing: culvert ssh USER@THING",
	"cp port":                "no port is needed, the device knows it",
	"cp user":                "the user stands before the thing: culvert cp FILE USER@THING:",
	"sandbox port":           "each part has a port of its own: --port-api, --port-relay, --port-mqtt, --port-mqtt-alpn, --port-admin",
}

// takesThing reports whether a thing is an argument of a command.
func takesThing(cmd *cobra.Command) bool {
	return strings.Contains(cmd.Use, "THING") || strings.Contains(cmd.Use, "[NAME ...]")
}

// Suggestion is a sentence with the option that an unknown one was probably meant to be. It is empty for other errors.
func Suggestion(cmd *cobra.Command, err error) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return ""
	}
	name := unknown.GetSpecifiedName()
	switch other := elsewhere[cmd.Name()+" "+name]; {
	case other != "":
		return other + "; "
	case slices.Contains([]string{"thing", "thing-name", "name"}, name) && takesThing(cmd):
		return "the thing needs no option: " + cmd.CommandPath() + " THING; "
	case strings.EqualFold(name, "v"):
		name = "version"
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if guess := suggest.Nearest(name, names); guess != "" {
		return fmt.Sprintf("did you mean --%s? ", guess)
	}
	return ""
}

// note tells the user something that is not an error.
func note(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "culvert: "+format+"\n", args...)
}

// Report prints an error of this package and returns the exit code. It returns false for other errors.
func Report(w io.Writer, err error) (code int, ok bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return 0, false
	}
	hint.Print(w, e)
	return e.Code, true
}
