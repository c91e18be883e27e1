package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/cmd/culvert/demo"
)

func newDemoCommand() *cobra.Command {
	var cfg demo.Config
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole job on it, step by step",
		Long: "Starts the sandbox in this process and the real culvertd beside it, opens a tunnel, moves bytes both ways and checks " +
			"each, rotates the token and cuts the network in mid-transfer, closes the tunnel, and tells what it measured. It needs " +
			"no account and no network, takes half a minute at most, and leaves nothing behind.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Bytes < 1 {
				return usagef(cmd, "--bytes %d: at least 1 is needed", cfg.Bytes)
			}
			cfg.Out = cmd.OutOrStdout()
			cfg.Terminal = isTerminal(cfg.Out)
			cfg.Color = cfg.Terminal && os.Getenv("NO_COLOR") == ""
			return runDemo(cmd.Context(), cfg)
		},
	}
	wrapLong(cmd)
	cmd.Flags().StringVar(&cfg.Culvertd, "culvertd", "", "`path` of the daemon (default: beside culvert, or PATH)")
	cmd.Flags().Int64Var(&cfg.Bytes, "bytes", demo.DefaultBytes, "how many `bytes` to move each way")
	return cmd
}

// runDemo runs until SIGINT or SIGTERM, which make it clean up; a second signal kills.
func runDemo(ctx context.Context, cfg demo.Config) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return demo.Run(ctx, cfg)
}

// isTerminal tells whether somebody looks at w, on something that understands escape sequences.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
