package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/cmd/culvert/fleet"
	"github.com/culvert-iot/culvert/sandbox"
)

func newSandboxCommand() *cobra.Command {
	var o sandboxOptions
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run AWS IoT in one process, for tests",
		Long: "Runs what Secure Tunneling needs of AWS IoT on local ports, strict and awkward by default, and prints what to " +
			"type next; --shell opens a shell that is set up for it; --device and --things add devices that run in this " +
			"process. It is for tests, demonstrations and a first look, not for production.",
		Example: "  culvert sandbox --shell --device my-pi\n  culvert sandbox --things 200",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.config(cmd)
			if err != nil {
				return err
			}
			if o.shell && o.json {
				return usagef(cmd, "--shell and --json exclude each other")
			}
			if o.shell && !cmd.Flags().Changed("log-level") {
				o.logLevel = slog.LevelError // the log would appear between the shell's lines
			}
			if o.hasDevices() && !cmd.Flags().Changed("log-level") {
				o.logLevel = max(o.logLevel, slog.LevelWarn) // of many devices
			}
			cfg.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: o.logLevel}))
			ownServices := !cmd.Flags().Changed("service")
			return runSandbox(cmd.Context(), cfg, o, ownServices, cmd.OutOrStdout())
		},
	}
	wrapLong(cmd)
	sections := o.sections()
	for _, s := range sections {
		cmd.Flags().AddFlagSet(s.flags)
	}
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		w := c.OutOrStderr()
		fmt.Fprintf(w, "Usage:\n  %s [flags]\n\nExample:\n%s\n", c.CommandPath(), c.Example)
		for _, s := range sections {
			fmt.Fprintf(w, "\n%s:\n", s.title)
			printFlags(w, s.flags)
		}
		return nil
	})
	return cmd
}

// runSandbox runs until SIGINT or SIGTERM, or until the shell ends; a second signal kills. With ownServices the devices
// of a fleet have services of their own.
func runSandbox(ctx context.Context, cfg sandbox.Config, o sandboxOptions, ownServices bool, out io.Writer) (err error) {
	signals := []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGQUIT}
	if o.shell {
		signals = signals[:1] // Ctrl-C and Ctrl-\ are for what runs in the shell
	}
	ctx, stop := signal.NotifyContext(ctx, signals...)
	defer stop()
	s, err := sandbox.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := s.Close(); err == nil {
			err = closeErr
		}
	}()
	devices := &fleet.Fleet{}
	if o.hasDevices() {
		devices, err = fleet.Start(ctx, s, o.plan(), fleet.Options{Devices: o.devices, OwnServices: ownServices, Logger: cfg.Logger})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		defer devices.Close()
	}
	sshDir := ""
	if o.shell && len(o.devices) > 0 && devices.SSHConfig != "" {
		if sshDir, err = shellSSH(devices.SSHConfig, o.devices); err != nil {
			return err
		}
	}
	culvert := namesAsTyped(os.Args[0])
	switch {
	case len(o.devices) > 0 && !o.json:
		_, err = io.WriteString(out, deviceGreeting(s.Addresses(), culvert.culvert, &o, devices))
	case o.things > 0 && !o.json:
		name := culvert.culvert
		if o.shell {
			name = "culvert" // its directory is first in the shell's PATH
		}
		_, err = io.WriteString(out, fleetGreeting(s.Addresses(), name, &o, devices, o.shell))
	case o.json:
		err = json.NewEncoder(out).Encode(s.Addresses()) // on one line
	case o.shell:
		_, err = io.WriteString(out, shellGreeting(s.Addresses(), syntaxOn(runtime.GOOS)))
	default:
		_, err = io.WriteString(out, greeting(s.Addresses(), culvert, cfg.AllowUnsigned, syntaxOn(runtime.GOOS)))
	}
	if err != nil {
		return err
	}
	if o.shell {
		return runShell(ctx, s.Addresses(), sshDir, os.Stdin, os.Stdout, ownStderr)
	}
	<-ctx.Done()
	stop()
	return nil
}
