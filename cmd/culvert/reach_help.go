package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/internal/textwrap"
	"github.com/culvert-iot/culvert/operator/holder"
)

// helpWidth is the width of an ordinary terminal.
const helpWidth = 79

// sharingHelp says what happens to a tunnel when a command that may share it ends.
var sharingHelp = func() string {
	own := "At its end the command closes a tunnel that it opened, and leaves one that it found open."
	if !holder.Supported {
		return "Nothing is shared on this system. " + own
	}
	return "A background process holds the tunnel for later commands. When no command has used the tunnel for --persist, " +
		"the process ends. It closes the tunnel if one of your commands opened it. culvert tunnels lists held tunnels. With " +
		"--no-share, --new or --debug the command has a tunnel to itself: at its end it closes one that it opened, and leaves " +
		"one that it found open."
}()

// reachHelp gives a command a help text for 80 columns: its long text wrapped, and each flag above its explanation.
func reachHelp(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	_ = cmd.RegisterFlagCompletionFunc("destination-client-type", // the flag exists
		cobra.FixedCompletions([]string{"auto", "V1", "V2", "V3"}, cobra.ShellCompDirectiveNoFileComp))
	wrapLong(cmd)
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		w := c.OutOrStderr()
		fmt.Fprintf(w, "Usage:\n  %s\n\nExamples:\n%s\n\nFlags:\n", c.UseLine(), c.Example)
		printFlags(w, c.LocalFlags())
		return nil
	})
}

// wrapLong breaks a command's long text, whose paragraphs are apart by an empty line, for 80 columns.
func wrapLong(cmd *cobra.Command) {
	var b strings.Builder
	for i, paragraph := range strings.Split(cmd.Long, "\n\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(textwrap.Hanging("", paragraph, helpWidth))
	}
	cmd.Long = strings.TrimSuffix(b.String(), "\n")
}

// printFlags writes each flag with its explanation below it, for 80 columns.
func printFlags(w io.Writer, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name, text := pflag.UnquoteUsage(f)
		short := "    "
		if f.Shorthand != "" {
			short = "-" + f.Shorthand + ", "
		}
		fmt.Fprintf(w, "%s\n", strings.TrimRight(fmt.Sprintf("  %s--%s %s", short, f.Name, name), " "))
		if !slices.Contains([]string{"", "false", "0", "0s", "[]"}, f.DefValue) && !strings.Contains(text, "(default ") {
			text += " (default " + defaultText(f) + ")"
		}
		fmt.Fprint(w, textwrap.Hanging("          ", text, helpWidth))
	})
}

// defaultText is a flag's default without the zeros of Go's durations.
func defaultText(f *pflag.Flag) string {
	if f.Value.Type() != "duration" {
		return f.DefValue
	}
	text := f.DefValue
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
