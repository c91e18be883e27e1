package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/footprint"
	"github.com/culvert-iot/culvert/internal/tlsdial"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/holder"
)

// newHoldCommand is the holder of a thing's tunnel, which the first command to share one starts.
func newHoldCommand() *cobra.Command {
	var o reachOptions
	var dir, key string
	cmd := &cobra.Command{
		Use: "hold THING", Hidden: true, Args: cobra.ExactArgs(1), Short: "Hold a tunnel for other commands",
		RunE: func(cmd *cobra.Command, args []string) error {
			debug.SetGCPercent(50) // it is idle most of its life
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)).With("pid", os.Getpid())
			o.wait = connect.DefaultWait
			show := newProgress(io.Discard, true)
			defer show.end()
			cfg, err := o.config(ctx, show, io.Discard)
			if err != nil {
				return reachError(cmd, err)
			}
			tlsdial.SetLogger(log)
			context.AfterFunc(ctx, func() { log.Info("holder ends", "reason", "signal, or done") })
			log.Info("holder started", "thing", args[0], "version", version.Get().String())
			known := newKnownServices(key)
			s := &holder.Server{
				Thing: args[0], Version: version.Get().String(), Config: cfg, Logger: log,
				Known: known.list, Learn: known.add, Idle: footprint.Trim,
			}
			return reachError(cmd, holder.Run(ctx, s, dir, key))
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "`directory` of sockets")
	f.StringVar(&key, "key", "", "`name` of the socket")
	o.registerWay(f)
	return cmd
}
