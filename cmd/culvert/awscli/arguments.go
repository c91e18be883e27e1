package awscli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Arguments rewrites a command line for cobra where the AWS CLI's rules are others: global options may come before the
// command, lists take several words after one option, and --generate-cli-skeleton may have a value of its own. Other
// commands' lines come back as they are.
func Arguments(root *cobra.Command, args []string) []string {
	probe := newCommand(&operations[0])
	at := 0
	for at < len(args) && strings.HasPrefix(args[at], "--") && args[at] != "--" {
		flag := probe.Flags().Lookup(strings.TrimPrefix(args[at], "--"))
		at++
		if flag != nil && flag.NoOptDefVal == "" {
			at++ // its value
		}
	}
	if at >= len(args) {
		return args
	}
	i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool {
		return c.Annotations[isOperation] != "" && (c.Name() == args[at] || c.HasAlias(args[at]))
	})
	if i < 0 {
		return args
	}
	cmd := root.Commands()[i]
	out := append([]string{args[at]}, args[:at]...)
	rest := args[at+1:]
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		flag := cmd.Flags().Lookup(strings.TrimPrefix(word, "--"))
		switch {
		case flag == nil || !strings.HasPrefix(word, "--"):
			out = append(out, word)
		case flag.Name == "generate-cli-skeleton":
			if len(rest) > 0 && !strings.HasPrefix(rest[0], "--") {
				word += "=" + rest[0]
				rest = rest[1:]
			}
			out = append(out, word)
		case flag.Value.Type() == "stringArray":
			n := 0
			for n < len(rest) && !strings.HasPrefix(rest[n], "--") {
				out = append(out, word+"="+rest[n])
				n++
			}
			if n == 0 {
				out = append(out, word) // pflag says what is missing
			}
			rest = rest[n:]
		case flag.NoOptDefVal == "" && len(rest) > 0:
			out = append(out, word, rest[0])
			rest = rest[1:]
		default:
			out = append(out, word)
		}
	}
	return out
}
