package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/hint"
)

// Exit codes for a command that could not run, the same as those of env(1) and shells.
const (
	exitNotRun   = 126
	exitNotFound = 127
)

// splitCommand separates the words before "--" from the command behind it. dash is the number of words before the first
// "--", which ends the flags; -1 means none. If that one comes before all words, a second one may follow.
func splitCommand(args []string, dash int) (own, command []string, is bool) {
	if dash == 0 {
		dash = -1
		for i, arg := range args {
			if arg == "--" {
				return args[:i], args[i+1:], true
			}
		}
	}
	if dash < 0 {
		return args, nil, false
	}
	return args[:dash], args[dash:], true
}

// child is the command that culvert connect runs with the local addresses in its environment.
type child struct {
	*exec.Cmd

	thing string
	names []string // of variables, by service
}

// newChild finds the command, before a tunnel costs money.
func newChild(cmd *cobra.Command, argv []string, thing string, list []local) (*child, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		code := exitNotRun
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			code = exitNotFound
		}
		advice := "write a program and its arguments behind --; for more use a shell: -- sh -c '...'"
		if errors.Is(err, exec.ErrDot) {
			advice = "write ./" + argv[0] + " for the one in this directory"
		}
		return nil, &exitError{code, hint.Wrap(fmt.Errorf("run %s: %w", argv[0], errors.Unwrap(err)), advice)}
	}
	c := &child{Cmd: exec.Command(path, argv[1:]...), thing: thing} //nolint:noctx // it ends by itself
	c.Args[0] = argv[0]
	c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	for i, s := range list {
		name := variable(s.service)
		for j, other := range c.names {
			if other == name {
				return nil, usagef(cmd, "%s and %s would share the variables CULVERT_%s_ADDRESS and so on: name one of them", list[j].service, list[i].service, name)
			}
		}
		c.names = append(c.names, name)
	}
	return c, nil
}

// variable turns a service's name into part of a variable's name.
func variable(service string) string {
	return strings.Map(func(r rune) rune {
		if r == ':' || r == '-' {
			return '_'
		}
		return r
	}, strings.ToUpper(service))
}

// environment holds the services' addresses. The first service also has variables without its name.
func (c *child) environment(listeners []net.Listener) []string {
	env := append(os.Environ(), "CULVERT_THING="+c.thing)
	for i, l := range listeners {
		address := reachable(l.Addr().String())
		host, port, _ := net.SplitHostPort(address)
		prefixes := []string{"CULVERT_" + c.names[i] + "_"}
		if i == 0 {
			prefixes = append(prefixes, "CULVERT_")
		}
		for _, p := range prefixes {
			env = append(env, p+"ADDRESS="+address, p+"HOST="+host, p+"PORT="+port)
		}
	}
	return env
}

// reachable is the address by which this machine can connect to a listener: loopback for a listener on all addresses.
func reachable(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsUnspecified() {
		return address
	}
	loopback := netip.IPv6Loopback()
	if at.Addr().Is4() {
		loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.AddrPortFrom(loopback, at.Port()).String()
}

// run runs the command until it ends, and passes on the signals that would otherwise end this program. When the tunnel
// ends, run says so and leaves the command alone: its connections are reset, and it can decide what to do.
func (c *child) run(ctx context.Context, stop func(), t tunnel, show *progress, names []string, listeners []net.Listener) error {
	signals := make(chan os.Signal, 8)
	notifyChildSignals(signals)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, errors.New("interrupted")}
	}
	stop() // later signals go to the command
	c.Env = c.environment(listeners)
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	defer all.Wait()
	defer end()
	for i, l := range listeners {
		all.Go(func() {
			if err := t.Serve(serving, names[i], l); err != nil && serving.Err() == nil {
				show.note("%s is not at %s any more: %v", names[i], l.Addr(), err)
			}
		})
	}
	if err := c.Start(); err != nil {
		return &exitError{exitNotRun, fmt.Errorf("run %s: %w", c.Args[0], err)}
	}
	ended := make(chan struct{})
	all.Go(func() {
		for {
			select {
			case s := <-signals:
				if isPassedOn(s) {
					_ = c.Process.Signal(s)
				}
			case <-ended:
				return
			}
		}
	})
	err := c.Wait()
	close(ended)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{code: childExitCode(exit.ProcessState)}
	}
	if err != nil {
		return &exitError{exitFailed, fmt.Errorf("run %s: %w", c.Args[0], err)}
	}
	return nil
}
