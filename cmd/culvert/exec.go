package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/terminal"
	"github.com/culvert-iot/culvert/operator/fleet"
	"github.com/culvert-iot/culvert/services"
)

// priceVariable is the environment's --price.
const priceVariable = "CULVERT_TUNNEL_PRICE"

// execOptions are the flags of exec.
type execOptions struct {
	reachOptions
	selection

	things, service, program, user, sshConfig string
	sshOptions                                []string
	parallel                                  int
	outputDir, failed, price                  string
	json, yes                                 bool
	command                                   []string
}

func newExecCommand() *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec [flags] [THING ...] -- COMMAND [ARGUMENT ...]",
		Short: "Run a command on many devices",
		Long: "Runs a command with the real ssh on each of the things, some at a time, without a terminal and without " +
			"questions. Things are named, or selected as with culvert ls. Those that AWS IoT knows to be away are skipped.\n\n" +
			"Each line of output gets the thing's name in front. The command's words are joined by spaces and run by the " +
			"user's shell on the device, as ssh does it. Before it opens more than one tunnel, it asks.\n\n" +
			"Exit codes: 0 the command succeeded on every thing, 1 it failed on some or some were skipped, 2 wrong usage, 130 " +
			"interrupted.",
		Example: "  culvert exec pi-1 pi-2 -- uptime\n" +
			"  culvert exec 'pi-*' --yes --failed todo -- sudo apt-get -qy upgrade\n" +
			"  culvert exec --things todo --yes --failed todo -- sudo apt-get -qy upgrade\n" +
			"  culvert exec --query attributes.site:berlin --json -- cat /etc/os-release",
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 || dash == len(args) {
				return usagef(cmd, "which command? Write it behind --, as in: culvert exec pi-1 -- uptime")
			}
			o.command = args[dash:]
			filter, err := o.check(args[:dash])
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			return o.run(cmd, filter)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.selection.register(f)
	f.StringVar(&o.things, "things", "", "`file` of things' names, one a line; - is standard input")
	f.IntVarP(&o.parallel, "parallel", "P", 16, "`number` of devices at a time")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask before tunnels are opened")
	f.StringVar(&o.price, "price", "", "`price` of a tunnel, to be shown before tunnels are opened; environment: "+priceVariable)
	f.StringVar(&o.outputDir, "output-dir", "", "`directory` to write each thing's output to, as THING.out and THING.err")
	f.BoolVar(&o.json, "json", false, "print an object a thing, one a line, with its output")
	f.StringVar(&o.failed, "failed", "", "`file` to write the names to on which the command did not succeed, for --things")
	f.StringVar(&o.user, "user", "", "`name` of the user on the devices")
	f.StringVarP(&o.sshConfig, "ssh-config", "F", "", "`file` that ssh reads instead of its configuration")
	f.StringArrayVarP(&o.sshOptions, "ssh-option", "o", nil, "`Name=value` for ssh; repeat it for more")
	f.StringVar(&o.service, "service", defaultService, "`name` of the tunnel's service that is ssh")
	f.StringVar(&o.program, "ssh", "ssh", "ssh `program` to run")
	o.reachOptions.register(f)
	reachHelp(cmd)
	cmd.ValidArgsFunction = completeThings(0)
	return cmd
}

func (o *execOptions) check(names []string) (fleet.Filter, error) {
	f, err := o.filter(names)
	selected := len(names) > 0 || o.selection != selection{}
	switch {
	case err != nil:
		return f, err
	case o.things != "" && selected:
		return f, errors.New("--things excludes other names, --query, --attribute and --group")
	case o.things == "" && !selected:
		return f, errors.New("on which things? '*' is all of them")
	case o.things == "-" && !o.yes:
		return f, errors.New("--things - needs --yes, since standard input cannot answer, too")
	case o.parallel < 1 || o.parallel > 256:
		return f, fmt.Errorf("--parallel %d: 1 to 256 devices at a time", o.parallel)
	case o.json && o.outputDir != "":
		return f, errors.New("--json excludes --output-dir")
	case strings.ContainsFunc(o.user, func(r rune) bool { return r <= ' ' || r == '@' }) || strings.HasPrefix(o.user, "-"):
		return f, fmt.Errorf("--user %q: no user has such a name", o.user)
	}
	return f, nil
}

// names returns the selected names, each once.
func (o *execOptions) names(ctx context.Context, cfg aws.Config, filter fleet.Filter) (names []string, err error) {
	seen := map[string]bool{}
	add := func(name string) error {
		if !services.ValidName(name) {
			return fmt.Errorf("%q cannot be the name of a thing: 1 to 128 of a-z, A-Z, 0-9, :, _ and - are allowed", name)
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
		return nil
	}
	if o.things != "" {
		list, from := os.Stdin, "standard input"
		if o.things != "-" {
			from = o.things
			if list, err = os.Open(o.things); err != nil {
				return nil, err
			}
			defer list.Close()
		}
		lines := bufio.NewScanner(list)
		for n := 1; lines.Scan(); n++ {
			text := lines.Text()
			if n == 1 {
				text = strings.TrimPrefix(text, "\ufeff") // editors on Windows begin files with it
			}
			if name := strings.TrimSpace(text); name != "" && !strings.HasPrefix(name, "#") {
				if err := add(name); err != nil {
					return nil, fmt.Errorf("%s:%d: %w", from, n, err)
				}
			}
		}
		return names, lines.Err()
	}
	for page, err := range fleet.Things(ctx, cfg, filter) {
		if err != nil {
			return nil, err
		}
		for _, name := range page {
			if err := add(name); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

func (o *execOptions) run(cmd *cobra.Command, filter fleet.Filter) error {
	path, err := exec.LookPath(o.program)
	if err != nil {
		return &exitError{exitFailed, hint.Wrap(fmt.Errorf("ssh: %w", err), "install OpenSSH's client, or name it with --ssh")}
	}
	price, err := o.tunnelPrice()
	if err != nil {
		return usagef(cmd, "%w", err)
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	show := newProgress(cmd.ErrOrStderr(), o.isQuiet)
	defer show.end()
	stdout, stderr := newOutlets(cmd.OutOrStdout(), cmd.ErrOrStderr(), show, ctx.Done())
	o.many = true
	if !o.isQuiet {
		o.waiting = sayThrottled(stderr)
	}
	cfg, err := o.config(ctx, show, cmd.ErrOrStderr())
	if err != nil {
		return reachError(cmd, err)
	}
	names, err := o.names(ctx, o.loaded, filter)
	if err != nil {
		return lsError(err)
	}
	if len(names) == 0 {
		return &exitError{exitFailed, hint.New("no thing matches", "culvert ls lists the things that exist")}
	}
	r := &execRun{execOptions: o, path: path, cfg: cfg, show: show, out: stdout, err: stderr}
	err = r.all(ctx, cmd, names, filter, price)
	if e, ok := errors.AsType[*exitError](err); ok && e.err != nil && ctx.Err() != nil {
		hint.Print(r.err, e.err) // main would wait for the reader of standard error
		return &exitError{code: e.code}
	}
	return err
}

// all runs the command on those of the named things that are there.
func (r *execRun) all(ctx context.Context, cmd *cobra.Command, names []string, filter fleet.Filter, price float64) error {
	if err := r.prepare(names); err != nil {
		return usagef(cmd, "%w", err)
	}
	defer r.dir.remove()
	named := filter.Names
	if r.things != "" {
		named = names
	}
	present := r.skipAway(ctx, names, named)
	r.show.settle() // a live line would write over the question
	switch {
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, errors.New("interrupted")}
	case len(present) > 1 && !r.yes:
		if err := r.ask(ctx, cmd, len(present), price); err != nil {
			return err
		}
	case len(present) > 0 && price > 0:
		r.note(toll(len(present), price))
	}
	if err := r.begin(names); err != nil {
		return &exitError{exitFailed, err}
	}
	r.each(ctx, present)
	if err := r.sumUp(names); err != nil {
		return &exitError{exitFailed, err}
	}
	switch {
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, errors.New("interrupted")}
	case r.lost != nil:
		return &exitError{exitFailed, hint.Wrap(fmt.Errorf("output was lost: %w", r.lost), "make space, or write elsewhere; the commands themselves ran on")}
	case r.done < len(names):
		return &exitError{code: exitFailed}
	}
	return nil
}

// tunnelPrice returns what a tunnel costs; 0 if that is not said.
func (o *execOptions) tunnelPrice() (float64, error) {
	text := o.price
	if text == "" {
		text = os.Getenv(priceVariable)
	}
	if text == "" {
		return 0, nil
	}
	price, err := strconv.ParseFloat(text, 64)
	if err != nil || !(price >= 0 && price < 1e6) {
		return 0, fmt.Errorf("--price %q: a number is needed, such as 1.50", text)
	}
	return price, nil
}

// toll says what n devices need, and what that costs at most if the price is known.
func toll(n int, price float64) string {
	need, cost, open := fmt.Sprintf("%d devices need a tunnel each", n), "", "open ones are used again"
	if n == 1 {
		need, open = "1 device needs a tunnel", "an open one is used again"
	}
	switch {
	case price > 0 && n == 1:
		cost = fmt.Sprintf(", at %.2f", price)
	case price > 0:
		cost = fmt.Sprintf(", at %.2f each up to %.2f", price, price*float64(n))
	}
	return need + cost + "; " + open
}

// ask asks whether n tunnels may be opened.
func (o *execOptions) ask(ctx context.Context, cmd *cobra.Command, n int, price float64) error {
	text := toll(n, price)
	if !terminal.Is(cmd.InOrStdin()) {
		return usagef(cmd, "%s: confirm it with --yes", text)
	}
	return confirm(ctx, cmd, text+". Go on?")
}

// confirm asks a question on the terminal. Every answer but yes is an error.
func confirm(ctx context.Context, cmd *cobra.Command, question string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "culvert: %s [y/N] ", question)
	read := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		read <- answer
	}()
	var answer string
	select {
	case answer = <-read:
	case <-ctx.Done():
		fmt.Fprintln(cmd.ErrOrStderr())
		return &exitError{exitInterrupted, errors.New("interrupted")}
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return &exitError{exitFailed, errors.New("nothing was done")}
	}
	return nil
}
