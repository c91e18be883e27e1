package awscli

import (
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
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

	// Options that the AWS CLI lacks.
	thing     string
	noFill    bool
	tokenFile string

	// Pages of list-tunnels.
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
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
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
		f = begin("Beyond the AWS CLI")
	}
	if r.byThing {
		f.StringVar(&r.thing, "thing", "", "`name` of a thing: use its newest open tunnel")
	}
	if r.name == "RotateTunnelAccessToken" {
		f.BoolVar(&r.noFill, "no-fill", false, "do not take a missing --destination-config from the tunnel")
	}
	if r.tokens {
		f.StringVar(&r.tokenFile, "token-file", "", "write the tokens to `file`, mode 0600, instead of printing them")
	}
	if r.name == "ListTunnels" {
		f = begin("Pages")
		f.IntVar(&r.maxItems, "max-items", 0, "most `tunnels` to print; NextToken continues the list")
		f.StringVar(&r.startingToken, "starting-token", "", "`NextToken` of the run before")
		f.IntVar(&r.pageSize, "page-size", 0, "`tunnels` in one page of the service")
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
		err := usagef("Unknown options: %s", strings.Join(args, ", "))
		for _, option := range []string{"thing", "thing-name", destinationConfig.option()} {
			if cmd.Flags().Lookup(option) != nil && len(args) == 1 {
				value := args[0]
				if option == destinationConfig.option() {
					value = destinationConfig.written(value)
				}
				return hint.Wrap(err, "did you mean --"+option+" "+value+"? "+cmd.CommandPath()+" --help")
			}
		}
		return err
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
		return output.Printer{Form: "json"}.Print(cmd.OutOrStdout(), skeleton(shape{kind: structureKind, members: r.input}, false))
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
	in, err := r.decodeInput()
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
	if err := r.complete(client, in); err != nil {
		return err
	}
	stamp := isoStamp
	if settings["cli_timestamp_format"] == "wire" {
		stamp = wireStamp
	}
	return r.send(client, in, printer, stamp)
}

// send makes the call and prints its result.
func (r *run) send(client *iotsecuretunneling.Client, in any, printer output.Printer, stamp func(time.Time) any) error {
	file, err := r.openTokenFile()
	if err != nil {
		return err
	}
	defer file.drop()
	var answer any
	if list, ok := in.(*iotsecuretunneling.ListTunnelsInput); ok {
		answer, err = r.pages(client, list, stamp)
	} else if answer, err = r.call(r.cmd.Context(), client, in); err == nil {
		answer = result(answer, stamp)
	}
	if err != nil {
		return r.advise(err, in)
	}
	if object, ok := answer.(output.Object); ok && file != nil {
		if answer, err = file.keep(object, client.Options().Region); err != nil {
			return err
		}
	}
	return printer.Print(r.cmd.OutOrStdout(), answer)
}

// advise adds a hint that depends on the parameters.
func (r *run) advise(err error, in any) error {
	rotate, ok := in.(*iotsecuretunneling.RotateTunnelAccessTokenInput)
	if !ok || rotate.DestinationConfig == nil || rotate.ClientMode != types.ClientModeSource || operator.KindOf(err) != operator.Service {
		return err
	}
	explained := operator.Explain(err)
	if hint.Of(explained) == "" {
		explained = hint.Wrap(explained, "omit --destination-config: the service notifies no device of the source's token, this command prints it")
	}
	return &Error{exitService, explained}
}

func (r *run) client() (*iotsecuretunneling.Client, error) {
	cfg, err := operator.LoadConfig(r.cmd.Context(), r.globals.options(r.cmd))
	if err != nil {
		return nil, err
	}
	if r.globals.noVerifySSL {
		note(r.cmd, "certificates are not checked (--no-verify-ssl): anyone on the path can read tokens")
	}
	return iotsecuretunneling.NewFromConfig(cfg), nil
}

// decodeInput reads the options and documents into the operation's input, and checks what needs no call.
func (r *run) decodeInput() (any, error) {
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
		var missing, advice []string
		for i, s := range r.input {
			if _, there := params[s.name]; !s.required || there {
				continue
			}
			missing = append(missing, "--"+s.option())
			if i == 0 && r.byThing {
				advice = append(advice, "--thing NAME can stand for --"+s.option())
			}
			if last := len(s.enum) - 1; last > 0 {
				advice = append(advice, "--"+s.option()+" takes "+strings.Join(s.enum[:last], ", ")+" or "+s.enum[last])
			}
		}
		if len(missing) > 0 {
			return nil, hint.Wrap(usagef("the following arguments are required: %s", strings.Join(missing, ", ")),
				strings.Join(append(advice, r.cmd.CommandPath()+" --help"), "; "))
		}
	}
	if err := validate(params, r.input); err != nil {
		return nil, err
	}
	in := r.newInput()
	text, err := json.Marshal(params)
	if err == nil {
		err = json.Unmarshal(text, in)
	}
	if err != nil {
		return nil, usagef("Parameter validation failed: %w", err)
	}
	return in, nil
}
