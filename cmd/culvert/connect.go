package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/holder"
	"github.com/culvert-iot/culvert/services"
)

// defaultService is the service if the command line names none.
const defaultService = "SSH"

func newConnectCommand() *cobra.Command {
	var o connectOptions
	cmd := &cobra.Command{
		Use:   "connect [flags] THING [SERVICE[=PORT] ...] [-- COMMAND ...]",
		Short: "Bring a device's services to local ports",
		Long: "Listens on local ports for services of the thing until it is interrupted. Standard output " +
			"shows the address of each service; PORT 0, or none, is a free one. The default service is " +
			"SSH.\n\n" +
			"It uses the tunnel that other commands of yours hold, an open one without a source, " +
			"or opens one, and waits for the device. " + sharingHelp + "\n\n" +
			"With -- COMMAND it runs the command instead of waiting to be interrupted, passes signals on " +
			"to it, and exits with its exit code, or 128 + n if signal n ended it. In its environment " +
			"CULVERT_ADDRESS, CULVERT_HOST and CULVERT_PORT say where the first service is; for a service " +
			"HTTP, CULVERT_HTTP_ADDRESS and so on do.\n\n" +
			"With --stdio the one service is standard input and output, as ProxyCommand of ssh " +
			"wants it; see culvert ssh-config.\n\n" + exitCodesHelp,
		Example: "  culvert connect pi-1                      # SSH on a free port\n" +
			"  culvert connect pi-1 SSH=2222 HTTP=8080\n" +
			"  culvert connect pi-1 HTTP -- sh -c 'curl -s http://$CULVERT_ADDRESS/'\n" +
			"  ssh -o ProxyCommand='culvert connect --stdio pi-1' pi-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			args, command, isCommand := splitCommand(args, cmd.ArgsLenAtDash())
			if len(args) == 0 {
				return usagef(cmd, "which thing?")
			}
			list, err := parseLocals(args[1:], o.bind, o.stdio || o.handover)
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			switch {
			case (o.stdio || o.handover) && (len(list) != 1 || list[0].given):
				return usagef(cmd, "--stdio takes one service, without a port")
			case isCommand && len(command) == 0:
				return usagef(cmd, "-- needs a command behind it")
			case isCommand && (o.stdio || o.json):
				return usagef(cmd, "standard output is the command's: a command excludes --stdio and --json")
			case o.stdio && o.json:
				return usagef(cmd, "--stdio excludes --json: standard output is one or the other")
			}
			return o.run(cmd, args[0], list, command)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.stdio, "stdio", false, "carry one connection on standard input and output")
	f.BoolVar(&o.json, "json", false, "print what happens as JSON on standard output, an object a line")
	f.StringVar(&o.bind, "bind", "127.0.0.1", "local `address` to listen on")
	f.BoolVar(&o.handover, "handover", false, "be the other half of culvert ssh")
	_ = f.MarkHidden("handover") // it is there
	o.share.register(f)
	o.register(f)
	reachHelp(cmd)
	cmd.ValidArgsFunction = completeThings(1)
	return cmd
}

// connectOptions are the flags of culvert connect.
type connectOptions struct {
	reachOptions

	stdio    bool
	json     bool
	handover bool // to the ssh that culvert ssh becomes
	bind     string
}

// local is a service and the local address where it can be reached.
type local struct {
	service, address string
	given            bool // the address was
}

// ports matches the argument of ssh's -L.
var ports = regexp.MustCompile(`^[0-9]+:([a-zA-Z0-9.-]+:)?[0-9]+$`)

// misspelt explains an argument that another program would read otherwise; nil if there is nothing to say. It must not cost
// a tunnel to a service that does not exist. Names may be numbers and end with a colon and a number: SERVICE=HOST:PORT and
// SERVICE=PORT are the ways to say that one is meant.
func misspelt(arg, bind string, stdio bool) error {
	isPort := func(text string) bool {
		_, err := strconv.ParseUint(text, 10, 16)
		return err == nil
	}
	name, where, given := strings.Cut(arg, "=")
	first, last := strings.Index(arg, ":"), strings.LastIndex(arg, ":")
	switch {
	case strings.Contains(arg, ","): // as in culvert proxy
		return fmt.Errorf("%q: each service is a word of its own: write %s", arg, strings.Join(strings.FieldsFunc(arg, func(r rune) bool { return r == ',' }), " "))
	case isPort(arg) && stdio:
		return fmt.Errorf("%q is a port, not a service: name a service, such as %s", arg, defaultService)
	case isPort(arg):
		return fmt.Errorf("%q is a port, not a service: write SERVICE=%s, such as SSH=%s", arg, arg, arg)
	case isPort(name) && isPort(where):
		return hint.Wrapf(fmt.Errorf("%q is a port, not a service: write SERVICE=%s, such as SSH=%s", name, where, where),
			"for a service that is called %s write %s=%s", name, name, net.JoinHostPort(bind, where))
	case !given && ports.MatchString(arg):
		return fmt.Errorf("%q looks like ssh's -L: write SERVICE=%s; the device's [services] says where the service is", arg, arg[:first])
	case !given && !stdio && first > 0 && isPort(arg[last+1:]):
		return hint.Wrapf(fmt.Errorf("%q would be the whole name of a service: for a local port write %s=%s", arg, arg[:first], arg[first+1:]),
			"for a service that is called %s write %s=0, or another port", arg, arg)
	}
	return nil
}

// parseLocals reads SERVICE, SERVICE=PORT and SERVICE=HOST:PORT. With stdio there are no local ports.
func parseLocals(args []string, bind string, stdio bool) ([]local, error) {
	if len(args) == 0 {
		args = []string{defaultService}
	}
	if bind == "" {
		return nil, errors.New("--bind is empty: name an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of IPv4 and :: for all")
	}
	seen := map[string]bool{}
	list := make([]local, 0, len(args))
	for _, arg := range args {
		name, where, given := strings.Cut(arg, "=")
		if err := misspelt(arg, bind, stdio); err != nil {
			return nil, err
		}
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
			if host == "" {
				return nil, fmt.Errorf("%q names no address: write %s=%s, or 0.0.0.0:%s for all of IPv4 and [::]:%s for all", arg, name, port, port, port)
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

// run reaches the services, and returns when the work with them is over.
func (o *connectOptions) run(cmd *cobra.Command, thing string, list []local, command []string) error {
	events := &eventWriter{thing: thing}
	if o.json {
		events.w = cmd.OutOrStdout()
	}
	var child *child
	if command != nil {
		var err error
		if child, err = newChild(cmd, command, thing, list); err != nil {
			return err
		}
	}
	err := o.reach(cmd, events, child, thing, list)
	if usage, ok := errors.AsType[*usageError](err); ok && o.handover {
		usage.command = "culvert ssh" // its flags came from there
	}
	events.ended(err)
	return err
}

func (o *connectOptions) reach(cmd *cobra.Command, events *eventWriter, child *child, thing string, list []local) error {
	until := untilSignal
	if child != nil {
		until = notifyContext // the command would inherit an ignored signal
	}
	ctx, stop := until(cmd.Context())
	defer stop()
	show := newProgress(cmd.ErrOrStderr(), o.isQuiet)
	show.observe = events.event
	defer show.end()
	cfg, err := o.sharedConfig(ctx, cmd, show)
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
		if o.stdio || o.handover {
			continue
		}
		// Before the tunnel, which costs money: a port may be taken.
		l, err := new(net.ListenConfig).Listen(ctx, networkOf(s.address), s.address)
		if err != nil {
			return &exitError{exitFailed, hint.Wrap(fmt.Errorf("listen for %s: %w", s.service, err), "name another port, "+s.service+"=PORT, or "+s.service+" alone for a free one")}
		}
		listeners = append(listeners, l)
	}
	t, err := o.open(ctx, cmd, cfg, show, thing, names)
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
	in, out := cmd.InOrStdin(), cmd.OutOrStdout()
	switch {
	case o.handover:
		// Before ssh starts, which only complains that the connection has ended.
		conn, err := dialAnswered(ctx, t, thing, names[0])
		if err != nil {
			return reachError(cmd, err)
		}
		c, err := awaitSSH(ctx)
		if err != nil {
			_ = conn.Close()
			return reachError(cmd, err)
		}
		// c is closed with the process: ssh must not end before the reason is printed.
		return reachError(cmd, carry(ctx, conn, thing, names[0], c, c, show.note))
	case child != nil:
		return child.run(ctx, stop, t, show, names, listeners)
	case !o.stdio:
		return reachError(cmd, serve(ctx, cmd, show, events, t, o.afterwards(t), names, listeners))
	}
	return reachError(cmd, carryStdio(ctx, t, thing, names[0], in, out, show.note))
}

// networkOf keeps IPv4's "any address" to IPv4: the Go library would listen on IPv6 as well.
func networkOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// afterwards says what becomes of the tunnel at the end of the command.
func (o *connectOptions) afterwards(t tunnel) string {
	_, isShared := t.(*holder.Tunnel)
	switch {
	case !t.Opened():
		return "was open already and stays open"
	case isShared:
		return "is held for later commands"
	case o.keep:
		return "stays open"
	}
	return "is then closed"
}

// serve listens until a signal or the tunnel's end.
func serve(ctx context.Context, cmd *cobra.Command, show *progress, events *eventWriter, t tunnel, afterwards string, names []string, listeners []net.Listener) error {
	ends := make(chan error, len(listeners))
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	events.connected(t)
	for i, l := range listeners {
		var err error
		if events.w != nil {
			err = events.listening(names[i], l.Addr().String())
		} else {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", names[i], l.Addr())
		}
		if err != nil {
			return fmt.Errorf("print where %s is: %w", names[i], err) // standard output is the only place that shows the address
		}
	}
	for i, l := range listeners {
		go func() { ends <- t.Serve(inner, names[i], l) }()
	}
	show.note("Ctrl-C ends this command; tunnel %s %s", t.ID(), afterwards)
	var first error
	for i := range listeners {
		if err := <-ends; i == 0 {
			first = err
		}
		cancel()
	}
	if ctx.Err() != nil {
		return nil // a signal is the intended end
	}
	return first
}
