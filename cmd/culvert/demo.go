package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/cmd/culvert/demo"
	"github.com/culvert-iot/culvert/internal/terminal"
)

func newDemoCommand() *cobra.Command {
	var cfg demo.Config
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a full tunnel on the sandbox",
		Long: "Starts the sandbox in this process and the real culvertd beside it, opens a tunnel, moves bytes both ways and checks " +
			"them, rotates the token and cuts the network in mid-transfer, closes the tunnel, and reports what it measured. It needs " +
			"no account and no network, takes a few seconds, and leaves nothing behind.",
		Example: "  culvert demo",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Bytes < 1 {
				return usagef(cmd, "--bytes %d: at least 1 is needed", cfg.Bytes)
			}
			cfg.Out = cmd.OutOrStdout()
			cfg.Terminal = terminal.Is(cfg.Out) && os.Getenv("TERM") != "dumb"
			cfg.Color = terminal.Animated(cfg.Out)
			return runDemo(cmd.Context(), cfg)
		},
	}
	wrapLong(cmd)
	cmd.Flags().StringVar(&cfg.Culvertd, "culvertd", "", "`path` of the daemon (default: beside culvert, or PATH)")
	cmd.Flags().Int64Var(&cfg.Bytes, "bytes", demo.DefaultBytes, "how many `bytes` to move each way")
	return cmd
}

// runDemo cleans up on SIGINT or SIGTERM; a second signal kills.
func runDemo(ctx context.Context, cfg demo.Config) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	context.AfterFunc(ctx, stop)
	return demo.Run(ctx, cfg)
}
