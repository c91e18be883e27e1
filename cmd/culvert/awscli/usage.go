package awscli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/internal/textwrap"
)

// valueForm is the annotation of a flag for how its value is written.
const valueForm = "culvert.aws.form"

func bindParameter(f *pflag.FlagSet, s shape) {
	name, doc, form := s.option(), s.doc, ""
	switch s.kind {
	case booleanKind:
		f.Bool(name, false, doc)
		f.Bool("no-"+name, false, "do not")
		return
	case listKind:
		form = "text ..."
		if s.members[0].kind == structureKind {
			form = "key=string,value=string ..."
			doc += "; JSON, too"
		}
		f.StringArray(name, nil, "")
	case structureKind:
		form = "maxLifetimeTimeoutMinutes=integer"
		if s.name == destinationConfig.name {
			form = "thingName=string,services=string,..."
		}
		doc += "; JSON, too"
		f.String(name, "", "")
	case integerKind:
		form = "integer"
		f.String(name, "", "")
	case stringKind, timestampKind:
		form = "text"
		f.String(name, "", "")
	}
	if s.required {
		doc += " (required)"
	}
	if len(s.enum) > 0 {
		doc += ": " + strings.Join(s.enum, ", ")
	}
	flag := f.Lookup(name)
	flag.Usage = doc
	flag.Annotations = map[string][]string{valueForm: {form}}
}

func printUsage(w io.Writer, c *cobra.Command, sections []section) {
	fmt.Fprintf(w, "Usage:\n  %s [options]\n", c.CommandPath())
	if len(c.Aliases) > 0 {
		fmt.Fprintf(w, "\nShort name:\n  %s\n", strings.Join(c.Aliases, ", "))
	}
	fmt.Fprintf(w, "\nExample:\n%s\n", c.Example)
	for _, s := range sections {
		fmt.Fprintf(w, "\n%s:\n", s.title)
		s.flags.VisitAll(func(f *pflag.Flag) { printFlag(w, f) })
	}
	fmt.Fprint(w, "\nParameters take file://PATH. Exit codes are those of the AWS CLI: 252 wrong\n"+
		"usage, 253 configuration or credentials, 254 the service refused, 255 others.\n")
}

// printFlag writes a flag with its description beside it, or below it where that does not fit, in 80 columns.
func printFlag(w io.Writer, f *pflag.Flag) {
	const column, wide = 31, 79
	kind, doc := pflag.UnquoteUsage(f)
	if form := f.Annotations[valueForm]; form != nil {
		kind = form[0]
	}
	head := "  --" + f.Name
	switch {
	case f.Name == "generate-cli-skeleton":
		head += " [" + kind + "]"
	case f.NoOptDefVal == "":
		head += " " + kind
	}
	if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" && f.DefValue != "0" {
		doc += " (default " + f.DefValue + ")"
	}
	if len(head) >= column {
		fmt.Fprintln(w, head)
		head = ""
	}
	fmt.Fprint(w, textwrap.Hanging(fmt.Sprintf("%-*s", column, head), doc, wide))
}
