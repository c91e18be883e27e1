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

// Exit codes of a command that could not be run, as env(1) and shells have them.
const (
	exitNotRun   = 126
	exitNotFound = 127
)

// splitCommand takes apart the words in front of "--" and the command behind it. dash is how many words stand before the first
// "--", which flags end with; -1 is none. One in front of everything is that end only, and another one may follow.
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

// child is the command of culvert connect, which finds local addresses in its environment.
type child struct {
	*exec.Cmd

	thing string
	names []string // of variables, by service
}

// newChild finds the command, before a tunnel is paid for.
func newChild(cmd *cobra.Command, argv []string, thing string, list []local) (*child, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		code := exitNotRun
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			code = exitNotFound
		}
		advice := "behind -- stands a program and its arguments; for more use a shell: -- sh -c '...'"
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
				return nil, usagef(cmd, "%s and %s would be in the same variables, CULVERT_%s_ADDRESS and so on: name one of them", list[j].service, list[i].service, name)
			}
		}
		c.names = append(c.names, name)
	}
	return c, nil
}

// variable is a service's name as a part of a variable's.
func variable(service string) string {
	return strings.Map(func(r rune) rune {
		if r == ':' || r == '-' {
			return '_'
		}
		return r
	}, strings.ToUpper(service))
}

// environment tells where the services are: the first one by names without its own as well.
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

// reachable is where a listener can be connected to from this machine: one on all addresses by loopback.
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

// run runs the command until it ends, and passes on the signals that stop would end this program with. The tunnel's end is said and
// does not end the command: its connections are reset, and what it makes of that is its business.
func (c *child) run(ctx context.Context, stop func(), t tunnel, show *progress, names []string, listeners []net.Listener) error {
	signals := make(chan os.Signal, 8)
	notifyChildSignals(signals)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, errors.New("interrupted")}
	}
	stop() // what comes from here on is the command's
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
