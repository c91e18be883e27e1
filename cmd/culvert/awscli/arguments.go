package awscli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// Arguments rewrites the command line of an operation for cobra, where the AWS CLI's rules differ: global options may
// come before the command, a list takes all words after its option, --generate-cli-skeleton has an optional value, and
// a word such as --delete is never the value of the option before it.
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
	var incomplete []string // options without a value, at the end: there pflag reports them
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
				incomplete = append(incomplete, word)
			}
			rest = rest[n:]
		case flag.NoOptDefVal == "" && (len(rest) == 0 || isOption(rest[0])):
			incomplete = append(incomplete, word)
		case flag.NoOptDefVal == "":
			out = append(out, word, rest[0])
			rest = rest[1:]
		default:
			out = append(out, word)
		}
	}
	return append(out, incomplete...)
}

// isOption reports whether the AWS CLI takes a word for an option, and not for the value of the one before.
func isOption(word string) bool {
	_, err := strconv.ParseFloat(word, 64)
	return len(word) > 1 && word[0] == '-' && !strings.Contains(word, " ") && err != nil
}
