package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/sandbox"
)

func newSandboxCommand() *cobra.Command {
	var o sandboxOptions
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run AWS IoT in one process, for tests",
		Long: "Runs what Secure Tunneling needs of AWS IoT on local ports, strict and awkward by default, and prints what to " +
			"type next. It is for tests, demonstrations and a first look; it is no product for production.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.config(cmd)
			if err != nil {
				return err
			}
			cfg.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: o.logLevel}))
			return runSandbox(cmd.Context(), cfg, o.json, cmd.OutOrStdout())
		},
	}
	wrapLong(cmd)
	sections := o.sections()
	for _, s := range sections {
		cmd.Flags().AddFlagSet(s.flags)
	}
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		w := c.OutOrStderr()
		fmt.Fprintf(w, "Usage:\n  %s [flags]\n", c.CommandPath())
		for _, s := range sections {
			fmt.Fprintf(w, "\n%s:\n", s.title)
			printFlags(w, s.flags)
		}
		return nil
	})
	return cmd
}

// runSandbox runs until SIGINT or SIGTERM; a second signal kills.
func runSandbox(ctx context.Context, cfg sandbox.Config, asJSON bool, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := sandbox.Start(ctx, cfg)
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(out).Encode(s.Addresses()) // on one line
	} else {
		_, err = io.WriteString(out, whatNext(s.Addresses(), cfg.AllowUnsigned))
	}
	if err == nil {
		<-ctx.Done()
		stop()
	}
	if closeErr := s.Close(); err == nil {
		err = closeErr
	}
	return err
}

// whatNext is the text that greets a person.
func whatNext(a sandbox.Addresses, unsigned bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	d := a.Devices[0]
	line("The sandbox is up: AWS IoT Secure Tunneling in one process, for tests and demonstrations.")
	line("It is no product for production: it lets everybody in, and forgets everything when it ends.")
	line("")
	line("  control API     %s   region %s", a.API, a.Region)
	line("  data endpoint   %s", a.Relay)
	line("  MQTT            %s   as port 8883", a.MQTT)
	line("                  %s   as port 443, with ALPN", a.MQTTALPN)
	line("  certificates    %s", a.Dir)
	line("")
	line("Run the device's daemon in a second terminal:")
	line("")
	line("  culvertd --config %s", openssh.Quote(d.ConfigFile))
	line("")
	line("Reach it from a third one, where the environment says whose cloud it is:")
	line("")
	if !unsigned {
		line("  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=thing AWS_DEFAULT_REGION=%s", a.Region)
	}
	line("  export AWS_ENDPOINT_URL=%s AWS_CA_BUNDLE=%s", a.API, openssh.Quote(a.CAFile))
	line("  export CULVERT_DATA_ENDPOINT=%s", a.Relay)
	unsignedFlags := map[bool]string{true: " --no-sign-request --region " + a.Region}[unsigned]
	line("  culvert ssh %s%s", d.Thing, unsignedFlags)
	line("")
	line("Or open a tunnel with the AWS CLI:")
	line("")
	line("  aws iotsecuretunneling open-tunnel --endpoint-url %s%s \\", a.API, unsignedFlags)
	line("      --destination-config thingName=%s,services=SSH", d.Thing)
	line("")
	line("See what happens, list the faults that can be had, play one:")
	line("")
	line("  curl %s/state", a.Admin)
	line("  curl %s/", a.Admin)
	line(`  curl %s/faults/relay -d '{"do": "cut"}'`, a.Admin)
	line("")
	line("Ctrl-C ends it.")
	return b.String()
}
