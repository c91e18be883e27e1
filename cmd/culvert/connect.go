package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/services"
)

// defaultService is what is meant when none is named.
const defaultService = "SSH"

func newConnectCommand() *cobra.Command {
	var o reachOptions
	var stdio bool
	var bind string
	cmd := &cobra.Command{
		Use:   "connect [flags] THING [SERVICE[=PORT] ...]",
		Short: "Bring a device's services to local ports",
		Long: "Finds an open tunnel to the thing or opens one, makes new tokens for it, waits until " +
			"the device is there, and listens on local ports until it is interrupted. Where each " +
			"service is, is printed on standard output; PORT 0, or none, is a free one. Without a " +
			"service SSH is meant. A lost link is made good by itself.\n\n" +
			"With --stdio the one service is standard input and output, as ProxyCommand of ssh " +
			"wants it; see culvert ssh-config.\n\n" +
			"A tunnel that was opened is closed at the end; one that was found stays open. One that " +
			"somebody is connected to is left alone.\n\n" + exitCodesHelp,
		Example: "  culvert connect pi-1                      # SSH on a free port\n" +
			"  culvert connect pi-1 SSH=2222 HTTP=8080\n" +
			"  ssh -o ProxyCommand='culvert connect --stdio pi-1' pi-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "which thing?")
			}
			list, err := parseLocals(args[1:], bind)
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			if stdio && (len(list) != 1 || list[0].given) {
				return usagef(cmd, "--stdio takes one service, without a port")
			}
			return runConnect(cmd, &o, args[0], list, stdio)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&stdio, "stdio", false, "carry one connection on standard input and output")
	f.StringVar(&bind, "bind", "127.0.0.1", "local `address` to listen on")
	o.register(f)
	reachHelp(cmd)
	return cmd
}

// local is a service and where it is to be had.
type local struct {
	service, address string
	given            bool // the address was
}

// parseLocals reads SERVICE, SERVICE=PORT and SERVICE=HOST:PORT.
func parseLocals(args []string, bind string) ([]local, error) {
	if len(args) == 0 {
		args = []string{defaultService}
	}
	seen := map[string]bool{}
	list := make([]local, 0, len(args))
	for _, arg := range args {
		name, where, given := strings.Cut(arg, "=")
		if !services.ValidName(name) {
			return nil, fmt.Errorf("%q is no SERVICE or SERVICE=PORT: a service's name has 1 to 128 of a-z, A-Z, 0-9, :, _ and -", arg)
		}
		if seen[name] {
			return nil, fmt.Errorf("service %s is named twice", name)
		}
		seen[name] = true
		host, port := bind, where
		if strings.Contains(where, ":") {
			var err error
			if host, port, err = net.SplitHostPort(where); err != nil {
				return nil, fmt.Errorf("%q: %w", arg, err)
			}
		}
		if !given {
			port = "0"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return nil, fmt.Errorf("%q: a port is a number from 0 to 65535", arg)
		}
		list = append(list, local{name, net.JoinHostPort(host, port), given})
	}
	return list, nil
}

func runConnect(cmd *cobra.Command, o *reachOptions, thing string, list []local, stdio bool) error {
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	show := newProgress(cmd.ErrOrStderr(), o.isQuiet)
	defer show.end()
	cfg, err := o.config(ctx, show, cmd.ErrOrStderr())
	if err != nil {
		return reachError(cmd, err)
	}
	names := make([]string, 0, len(list))
	listeners := make([]net.Listener, 0, len(list))
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	for _, s := range list {
		names = append(names, s.service)
		if stdio {
			continue
		}
		// Before the tunnel, which costs money: a port may be taken.
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.address)
		if err != nil {
			return &exitError{exitFailed, hinted(fmt.Sprintf("listen for %s: %v", s.service, err), "name another port, or none for a free one: "+s.service)}
		}
		listeners = append(listeners, l)
	}
	t, err := connect.Open(ctx, cfg, thing, names...)
	show.settle()
	if err != nil {
		return reachError(cmd, err)
	}
	defer func() {
		show.settle()
		if err := t.Close(); err != nil {
			show.note("tunnel %s is still open: %s", t.ID(), reachError(cmd, err))
		}
	}()
	if stdio {
		return reachError(cmd, carryStdio(ctx, t, thing, names[0], cmd.InOrStdin(), cmd.OutOrStdout(), show.note))
	}
	return reachError(cmd, serve(ctx, cmd, show, t, names, listeners))
}

// serve listens until a signal or the tunnel's end.
func serve(ctx context.Context, cmd *cobra.Command, show *progress, t *connect.Tunnel, names []string, listeners []net.Listener) error {
	ends := make(chan error, len(listeners))
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, l := range listeners {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", names[i], l.Addr()); err != nil {
			return fmt.Errorf("print where %s is: %w", names[i], err) // nobody would ever know
		}
	}
	for i, l := range listeners {
		go func() { ends <- t.Serve(inner, names[i], l) }()
	}
	how := "was open already and stays open"
	if t.Opened() {
		how = "was opened for this"
	}
	show.note("tunnel %s %s; Ctrl-C ends it", t.ID(), how)
	var first error
	for i := range listeners {
		if err := <-ends; i == 0 {
			first = err
		}
		cancel()
	}
	if ctx.Err() != nil {
		return nil // that is how it is meant to end
	}
	return first
}
