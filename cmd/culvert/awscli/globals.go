package awscli

import (
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/terminal"
	"github.com/culvert-iot/culvert/operator"
)

// globals are the options that every operation has, with the AWS CLI's names and meaning.
type globals struct {
	flags *pflag.FlagSet

	debug, noVerifySSL, noPaginate, noSign bool
	noPager, autoPrompt, noAutoPrompt      bool
	version                                bool

	endpointURL, output, query, profile, region, color, caBundle, binaryFormat, errorFormat string
	readTimeout, connectTimeout                                                             int

	inputJSON, inputYAML, skeleton string
}

func (g *globals) given(name string) bool { return g.flags.Changed(name) }

// bindInput defines the options that say what to send.
func (g *globals) bindInput(f *pflag.FlagSet) {
	f.StringVar(&g.inputJSON, "cli-input-json", "", "all parameters as `JSON`; those of the command line win")
	f.StringVar(&g.inputYAML, "cli-input-yaml", "", "all parameters as `YAML`")
	f.StringVar(&g.skeleton, "generate-cli-skeleton", "", "only print a sample: `kind` is input, yaml-input or output")
	f.Lookup("generate-cli-skeleton").NoOptDefVal = "input"
}

func (g *globals) bind(f *pflag.FlagSet) {
	g.flags = f
	f.BoolVar(&g.debug, "debug", false, "log each request and answer, without tokens and signatures")
	f.StringVar(&g.endpointURL, "endpoint-url", "", "`URL` to call instead of the region's")
	f.BoolVar(&g.noVerifySSL, "no-verify-ssl", false, "accept any certificate")
	f.BoolVar(&g.noPaginate, "no-paginate", false, "ask for one page only")
	f.StringVar(&g.output, "output", "", "`form`: json, text, table, yaml, yaml-stream or off")
	f.StringVar(&g.query, "query", "", "`JMESPath` of what to print")
	f.StringVar(&g.profile, "profile", "", "`name` of a profile of the shared files")
	f.StringVar(&g.region, "region", "", "AWS `region`")
	f.BoolVar(&g.version, "version", false, "print culvert's version")
	f.StringVar(&g.color, "color", "auto", "colours in tables, `when`: on, off or auto")
	f.BoolVar(&g.noSign, "no-sign-request", false, "make the call without credentials")
	f.StringVar(&g.caBundle, "ca-bundle", "", "PEM `file` of the authorities to trust")
	f.IntVar(&g.readTimeout, "cli-read-timeout", 60, "`seconds` to wait for the service, 0 for no limit")
	f.IntVar(&g.connectTimeout, "cli-connect-timeout", 60, "`seconds` to wait for a connection, 0 for no limit")
	f.StringVar(&g.binaryFormat, "cli-binary-format", "", "`form` of blobs, base64 or raw-in-base64-out; no command has any")
	f.BoolVar(&g.noPager, "no-cli-pager", false, "do not page; culvert never does")
	f.StringVar(&g.errorFormat, "cli-error-format", "", "`form` of errors, for newer versions of the AWS CLI: errors are always text")
	f.BoolVar(&g.autoPrompt, "cli-auto-prompt", false, "ask for parameters that are not given")
	f.BoolVar(&g.noAutoPrompt, "no-cli-auto-prompt", false, "do not ask")
}

// choices are the values of options that have few.
var choices = map[string][]string{
	"output":                output.Forms,
	"color":                 {"on", "off", "auto"},
	"cli-binary-format":     {"base64", "raw-in-base64-out"},
	"cli-error-format":      {"legacy", "json", "yaml", "text", "table", "enhanced"},
	"generate-cli-skeleton": {"input", "yaml-input", "output"},
}

// completions lets a shell complete the values that are known.
func (r *run) completions() {
	complete := func(name string, values []string) {
		// It fails only for a flag that is not there, or twice.
		_ = r.cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	for name, values := range choices {
		complete(name, values)
	}
	for _, s := range r.input {
		if len(s.enum) > 0 {
			complete(s.option(), s.enum)
		}
	}
	r.cmd.ValidArgsFunction = cobra.NoFileCompletions
}

// check validates the options.
func (g *globals) check() error {
	for name, valid := range choices {
		if value := g.flags.Lookup(name).Value.String(); g.given(name) && !slices.Contains(valid, value) {
			return usagef("argument --%s: Invalid choice %q, valid choices are: %s", name, value, strings.Join(valid, ", "))
		}
	}
	if g.given("query") {
		if err := output.CheckQuery(g.query); err != nil {
			return &usageError{err}
		}
	}
	if g.given("endpoint-url") {
		if u, err := url.Parse(g.endpointURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return usagef("Bad value for --endpoint-url %q: it must be of the form http://<hostname>/ or https://<hostname>/", g.endpointURL)
		}
	}
	if g.region != "" {
		if _, err := endpoints.Data(g.region); err != nil {
			return usagef("argument --region: %w", err)
		}
	}
	switch {
	case g.autoPrompt && g.noAutoPrompt:
		return usagef("Both --cli-auto-prompt and --no-cli-auto-prompt cannot be specified at the same time")
	case g.readTimeout < 0 || g.connectTimeout < 0:
		return usagef("--cli-read-timeout and --cli-connect-timeout are seconds, 0 for no limit")
	}
	return nil
}

// options are those of the operator package.
func (g *globals) options(cmd *cobra.Command) operator.Options {
	seconds := func(n int) time.Duration {
		if n == 0 {
			return -1
		}
		return time.Duration(n) * time.Second
	}
	o := operator.Options{
		Profile: g.profile, Region: g.region, EndpointURL: g.endpointURL, CABundle: g.caBundle, NoVerifySSL: g.noVerifySSL,
		NoSignRequest: g.noSign, ReadTimeout: seconds(g.readTimeout), ConnectTimeout: seconds(g.connectTimeout),
	}
	if g.debug {
		o.Debug = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return o
}

// printer takes the form from --output, else from AWS_DEFAULT_OUTPUT, else from the profile.
func (g *globals) printer(cmd *cobra.Command, op *operation, settings map[string]string) (output.Printer, error) {
	form := g.output
	for _, other := range []string{os.Getenv("AWS_DEFAULT_OUTPUT"), settings["output"], "json"} {
		if form == "" {
			form = other
		}
	}
	if !slices.Contains(output.Forms, form) {
		return output.Printer{}, &Error{exitConfiguration, hint.New("Unknown output type: "+form,
			"AWS_DEFAULT_OUTPUT and output in the profile are one of "+strings.Join(output.Forms, ", "))}
	}
	p := output.Printer{Form: form, Query: g.query, Title: op.name, Color: g.color == "on"}
	if width, ok := terminal.Width(cmd.OutOrStdout()); ok {
		p.Width = width
		p.Color = g.color != "off"
	}
	return p, nil
}
