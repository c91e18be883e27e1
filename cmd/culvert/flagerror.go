package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli"
	"github.com/culvert-iot/culvert/internal/hint"
)

// flagError explains a flag that the command does not have, or a value that the flag does not take.
func flagError(cmd *cobra.Command, err error) error {
	advice := awscli.Suggestion(cmd, err)
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if wanted := wantedValue(bad.GetFlag().Value.Type(), bad.GetValue()); wanted != "" {
			err = fmt.Errorf("--%s %q: %s", bad.GetFlag().Name, bad.GetValue(), wanted)
		}
	} else if cmd.Name() == "exec" && advice == "" && cmd.Flags().NArg() > 1 { // an option of the device's command
		words := cmd.Flags().Args()
		advice = fmt.Sprintf("the command is written behind --, as in: culvert exec %s -- %s …; ", words[0], strings.Join(words[1:], " "))
	}
	return hint.Wrap(usagef(cmd, "%w", err), advice+cmd.CommandPath()+" --help")
}

// wantedValue says what a kind of flag takes. The library repeats the words of Go's parsers.
func wantedValue(kind, value string) string {
	switch kind {
	case "duration":
		if value != "" && strings.Trim(value, "0123456789.") == "" {
			return "the unit is missing: write " + value + "s for seconds"
		}
		return "write a number and a unit, such as 30s, 5m or 1h"
	case "int", "int64", "uint", "uint16":
		return "a whole number is needed"
	case "bool":
		return "write true or false"
	}
	return ""
}
