package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/textwrap"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/operator/localproxy"
)

// exitRejected: the service rejected the token.
const exitRejected = 3

func newProxyCommand() *cobra.Command {
	var showVersion bool
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Be one end of a tunnel, in place of localproxy",
		Long: "Connects one side of a tunnel to local ports, with an access token from opening\n" +
			"or rotating the tunnel. It takes the options, environment variables\n" +
			"and files of AWS's localproxy. Flags win over --config, which wins over the\n" +
			"environment (AWSIOT_TUNNEL_ACCESS_TOKEN, AWSIOT_TUNNEL_CLIENT_TOKEN,\n" +
			"AWSIOT_TUNNEL_ENDPOINT, AWSIOT_TUNNEL_REGION). https_proxy and no_proxy are\n" +
			"respected.\n\n" +
			"It exits with 0 when the tunnel was closed, 1 when something failed, 2 on wrong\n" +
			"usage, and 3 when the service rejected the token.",
		Example: "  culvert proxy -r eu-west-1 -s SSH=2222         # then: ssh -p 2222 localhost\n" +
			"  culvert proxy -r eu-west-1 -d SSH=22,APP=/run/app.sock",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(cmd.OutOrStdout(), "Running Culvert, Secure Tunneling Local Proxy version: %s\n", version.Get())
			if showVersion {
				return nil
			}
			values := proxyValues(cmd.Flags())
			if path, ok := values[localproxy.ExportOption]; ok {
				return localproxy.ExportSettings(path)
			}
			cfg, err := localproxy.Load(values, os.Getenv)
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			return runProxy(cmd, cfg)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	for _, o := range localproxy.Options() {
		switch {
		case o.Argument == "":
			f.BoolP(o.Name, o.Short, false, o.Help)
		case o.IsList():
			f.StringArrayP(o.Name, o.Short, nil, o.Help)
		default:
			f.StringP(o.Name, o.Short, "", o.Help)
		}
	}
	f.BoolVarP(&showVersion, "version", "V", false, "print the version and exit")
	for name, values := range map[string][]string{"mode": {"source", "destination"}, "destination-client-type": {"V1", "V2"}} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // they are there
	}
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		w := c.OutOrStderr()
		fmt.Fprintf(w, "Usage:\n  %s [flags]\n\nExamples:\n%s\n\nFlags:\n", c.CommandPath(), c.Example)
		for _, o := range localproxy.Options() {
			short := "    "
			if o.Short != "" {
				short = "-" + o.Short + ", "
			}
			fmt.Fprintln(w, strings.TrimRight("  "+short+"--"+o.Name+" "+o.Argument, " "))
			fmt.Fprint(w, textwrap.Hanging("          ", o.Help, 80))
		}
		fmt.Fprintf(w, "  -V, --version\n  -h, --help\n")
		return nil
	})
	return cmd
}

// proxyValues are the flags that were given.
func proxyValues(flags *pflag.FlagSet) localproxy.Values {
	values := localproxy.Values{}
	flags.Visit(func(f *pflag.Flag) {
		values[f.Name] = f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values[f.Name] = strings.Join(list.GetSlice(), ",")
		}
	})
	return values
}

// runProxy runs until the tunnel's end, SIGINT or SIGTERM; a second signal kills.
func runProxy(cmd *cobra.Command, cfg *localproxy.Config) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := clean.Error(localproxy.Run(ctx, cfg, cmd.ErrOrStderr()))
	if _, ok := errors.AsType[*localproxy.RejectedError](err); ok {
		return &exitError{exitRejected, err}
	}
	return err
}
