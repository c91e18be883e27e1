package awscli

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// isOperation marks the commands of this package.
const isOperation = "culvert.aws.operation"

// Commands returns a new command for each operation.
func Commands() (all []*cobra.Command) {
	for i := range operations {
		all = append(all, newCommand(&operations[i]))
	}
	return all
}

// run is one run of a command.
type run struct {
	*operation

	cmd     *cobra.Command
	globals globals

	// What culvert has and the AWS CLI has not.
	thing     string
	noFill    bool
	tokenFile string

	// Pages, of list-tunnels alone.
	maxItems, pageSize int
	startingToken      string
}

func newCommand(op *operation) *cobra.Command {
	r := &run{operation: op}
	r.cmd = &cobra.Command{
		Use:         op.command,
		Short:       op.short,
		Long:        op.long,
		Example:     "  " + op.example,
		Annotations: map[string]string{isOperation: op.name},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			cmd.SetContext(ctx)
			return explain(cmd, r.do(args))
		},
	}
	if op.alias != "" {
		r.cmd.Aliases = []string{op.alias}
	}
	r.cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return explain(cmd, &usageError{err}) })
	sections := r.sections()
	for _, s := range sections {
		r.cmd.Flags().AddFlagSet(s.flags)
	}
	r.globals.flags = r.cmd.Flags()
	r.completions()
	r.cmd.SetUsageFunc(func(c *cobra.Command) error {
		printUsage(c.OutOrStderr(), c, sections)
		return nil
	})
	return r.cmd
}

type section struct {
	title string
	flags *pflag.FlagSet
}

func (r *run) sections() (all []section) {
	begin := func(title string) *pflag.FlagSet {
		f := pflag.NewFlagSet(title, pflag.ContinueOnError)
		f.SortFlags = false
		all = append(all, section{title, f})
		return f
	}
	f := begin("Parameters")
	for _, s := range r.input {
		bindParameter(f, s)
	}
	r.globals.bindInput(f)
	if r.byThing || r.tokens {
		f = begin("Better than the AWS CLI")
	}
	if r.byThing {
		f.StringVar(&r.thing, "thing", "", "`name` of a thing: its newest open tunnel is meant")
	}
	if r.name == "RotateTunnelAccessToken" {
		f.BoolVar(&r.noFill, "no-fill", false, "do not take a missing --destination-config from the tunnel")
	}
	if r.tokens {
		f.StringVar(&r.tokenFile, "token-file", "", "write the tokens to `file`, mode 0600, instead of printing them")
	}
	if r.name == "ListTunnels" {
		f = begin("Pages")
		f.IntVar(&r.maxItems, "max-items", 0, "most `tunnels` to print; NextToken tells where to go on")
		f.StringVar(&r.startingToken, "starting-token", "", "`NextToken` of the run before")
		f.IntVar(&r.pageSize, "page-size", 0, "`tunnels` in one answer of the service")
	}
	r.globals.bind(begin("Global options, as in the AWS CLI"))
	return all
}

func (r *run) do(args []string) error {
	cmd, g := r.cmd, &r.globals
	switch {
	case g.version:
		_, err := fmt.Fprintln(cmd.OutOrStdout(), version.Get())
		return err
	case len(args) == 1 && args[0] == "help":
		return cmd.Help()
	case len(args) > 0:
		return usagef("Unknown options: %s", strings.Join(args, ", "))
	}
	if err := g.check(); err != nil {
		return err
	}
	settings := profileSettings(g.profile)
	if err := r.prompt(settings); err != nil {
		return err
	}
	switch g.skeleton {
	case "input":
		return output.Printer{Form: "json", Order: names(r.input)}.Print(cmd.OutOrStdout(), skeleton(shape{kind: structureKind, members: r.input}, false))
	case "yaml-input":
		var b strings.Builder
		yamlSkeleton(&b, r.input, "", "")
		_, err := io.WriteString(cmd.OutOrStdout(), b.String())
		return err
	}
	printer, err := g.printer(cmd, r.operation, settings)
	if err != nil {
		return err
	}
	params, err := r.checked()
	if err != nil {
		return err
	}
	if g.skeleton == "output" {
		return printer.Print(cmd.OutOrStdout(), skeleton(shape{kind: structureKind, members: r.output}, true))
	}
	client, err := r.client()
	if err != nil {
		return err
	}
	if err := r.complete(client, params); err != nil {
		return err
	}
	stamp := isoStamp
	if settings["cli_timestamp_format"] == "wire" {
		stamp = wireStamp
	}
	return r.send(client, params, printer, stamp)
}

// send makes the call and prints what comes back.
func (r *run) send(client *iotsecuretunneling.Client, params map[string]any, printer output.Printer, stamp func(time.Time) any) error {
	file, err := r.openTokenFile()
	if err != nil {
		return err
	}
	defer file.drop()
	var answer any
	if r.name == "ListTunnels" {
		answer, err = r.pages(client, params, stamp)
	} else if answer, err = r.call(r.cmd.Context(), client, params); err == nil {
		answer = result(answer, stamp)
	}
	if err != nil {
		return r.advise(err, params)
	}
	if file != nil {
		if err := file.keep(answer.(map[string]any), client.Options().Region); err != nil {
			return err
		}
	}
	return printer.Print(r.cmd.OutOrStdout(), answer)
}

// advise adds what only the parameters tell.
func (r *run) advise(err error, params map[string]any) error {
	_, config := params[destinationConfig.name]
	e, isError := errors.AsType[*Error](explain(r.cmd, err))
	if isError && e.Code == exitService && e.Advice == "" && config && params[clientMode.name] == "SOURCE" {
		e.Advice = "leave --destination-config away: nobody is notified of the source's token, this command prints it"
		return e
	}
	return err
}

func (r *run) client() (*iotsecuretunneling.Client, error) {
	cfg, err := operator.LoadConfig(r.cmd.Context(), r.globals.options(r.cmd))
	if err != nil {
		return nil, err
	}
	if r.globals.noVerifySSL {
		note(r.cmd, "certificates are not checked (--no-verify-ssl): whoever is in between can read tokens")
	}
	return iotsecuretunneling.NewFromConfig(cfg), nil
}

// checked returns the parameters, complete as far as can be told without asking anybody.
func (r *run) checked() (map[string]any, error) {
	params, err := r.parameters(r.cmd.Flags(), &r.globals)
	if err != nil {
		return nil, err
	}
	if r.thing != "" {
		target := r.input[0].name // tunnelId or resourceArn
		if _, both := params[target]; both {
			return nil, usagef("--thing and --%s cannot both be given", r.input[0].option())
		}
		params[target] = "of-the-thing" // complete replaces it
	}
	if !r.globals.given("cli-input-json") && !r.globals.given("cli-input-yaml") {
		var missing []string
		for _, s := range r.input {
			if _, there := params[s.name]; s.required && !there {
				missing = append(missing, "--"+s.option())
			}
		}
		if len(missing) > 0 {
			return nil, usagef("the following arguments are required: %s", strings.Join(missing, ", "))
		}
	}
	return params, validate(params, r.input)
}

// names lists the members and those in them, in the order of the model.
func names(members []shape) (all []string) {
	for _, s := range members {
		all = append(all, s.name)
		all = append(all, names(s.members)...)
	}
	return all
}
