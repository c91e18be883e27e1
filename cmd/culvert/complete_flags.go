package main

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// notFiles are the names of values that are no files, as flags' usages have them in backquotes.
var notFiles = []string{
	"name", "time", "number", "port", "seconds", "amount", "price", "version", "host", "address", "level", "URL", "Name=value", "NAME=ADDRESS", "NAME=VALUE",
}

// plainFlags readies all flags for a shell's completion, which shows usages as they are and offers files for the
// value of every flag that has no words of its own.
func plainFlags(cmd *cobra.Command) {
	plain := func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		f.Usage = usage
		if slices.Contains(notFiles, name) {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions) // it may have words already
		}
	}
	cmd.PersistentFlags().VisitAll(plain)
	cmd.Flags().VisitAll(plain)
	for _, c := range cmd.Commands() {
		plainFlags(c)
	}
}
