package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/fleet"
	"github.com/culvert-iot/culvert/operator/holder"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/opentunnels"
	"github.com/culvert-iot/culvert/services"
)

// tunnelsOptions are the flags of culvert tunnels.
type tunnelsOptions struct {
	aws reachAWS

	output, price   string
	json            bool
	close           string
	prune, yes, all bool
}

// newTunnelsCommand lists and ends shared and unused tunnels.
func newTunnelsCommand() *cobra.Command {
	var o tunnelsOptions
	cmd := &cobra.Command{
		Use:   "tunnels [flags] [THING ...]",
		Short: "List and close shared and open tunnels",
		Long: "Lists the tunnels that background processes hold for your commands, without a call to AWS. With THING or " +
			"--all it also lists the other open tunnels that AWS knows of, those of other operators included; USERS of such " +
			"a tunnel is 1 if a source is connected.\n\n" +
			"--close ends the background processes of a thing, which close the tunnels that they opened. --prune asks, and then " +
			"closes open tunnels without a source. It leaves tunnels alone that are held for your commands, or were opened or " +
			"used in the last 15 minutes.\n\n" +
			"The caller needs iot:ListTunnels and iot:DescribeTunnel for THING, --all and --prune, and iot:CloseTunnel for --prune. With " +
			"iot:DescribeThing it notices a mistyped THING.",
		Example: "  culvert tunnels\n" +
			"  culvert tunnels pi-1 --output json\n" +
			"  culvert tunnels --close pi-1\n" +
			"  culvert tunnels --prune --all --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd, args); err != nil {
				return usagef(cmd, "%w", err)
			}
			return o.run(cmd, args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.all, "all", false, "list or prune the open tunnels to all things of the account, in the region")
	f.StringVar(&o.close, "close", "", "end the background processes that hold tunnels to this `thing`")
	f.BoolVar(&o.prune, "prune", false, "close open tunnels to THING, or to --all, without a source")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask before --prune closes them")
	f.StringVar(&o.output, "output", "table", "`form`: table, text (tabs between fields) or json (an object a line)")
	f.BoolVar(&o.json, "json", false, "the same as --output json")
	f.StringVar(&o.price, "price", "", "`amount` that AWS charges for a tunnel; environment: "+priceVariable)
	o.aws.register(f)
	reachHelp(cmd)
	return cmd
}

// check completes and checks the options.
func (o *tunnelsOptions) check(cmd *cobra.Command, things []string) error {
	if o.json {
		if cmd.Flags().Changed("output") && o.output != "json" {
			return errors.New("--json excludes another --output")
		}
		o.output = "json"
	}
	closing := cmd.Flags().Changed("close")
	for _, thing := range slices.Concat(things, map[bool][]string{true: {o.close}}[closing]) {
		if err := validThing(thing); err != nil {
			return err
		}
	}
	switch {
	case !slices.Contains([]string{"table", "text", "json"}, o.output):
		return errors.New("--output " + o.output + ": table, text and json are known")
	case closing && (o.prune || o.all || len(things) > 0):
		return errors.New("--close takes one thing, and excludes --prune, --all and other things")
	case o.all && len(things) > 0:
		return errors.New("--all excludes names of things")
	case o.prune && !o.all && len(things) == 0:
		return errors.New("--prune needs names of things, or --all for the account's tunnels in the region")
	case o.yes && !o.prune:
		return errors.New("--yes is for --prune")
	}
	o.price = cmp.Or(o.price, os.Getenv(priceVariable))
	return nil
}

func (o *tunnelsOptions) run(cmd *cobra.Command, things []string) error {
	if o.close != "" {
		return o.end()
	}
	held, silent, err := o.held()
	if err != nil {
		return &exitError{exitFailed, err}
	}
	for _, log := range silent {
		fmt.Fprintf(cmd.ErrOrStderr(), "culvert: a background process does not answer: it is stopped or hangs\n"+
			"culvert:   its log names it: %s\n", log)
	}
	if !o.all && len(things) == 0 {
		if len(held) == 0 && o.output == "table" {
			if len(silent) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "culvert: no tunnel is held")
			}
			return nil
		}
		return o.print(cmd.OutOrStdout(), held, nil)
	}
	until := untilInterrupted
	if o.prune {
		until = untilSignal
	}
	ctx, stop := until(cmd.Context())
	defer stop()
	cfg, err := operator.LoadConfig(ctx, o.aws.options(cmd.ErrOrStderr()))
	if err != nil {
		return lsError(err)
	}
	api := iot.NewFromConfig(cfg)
	if len(things) > 0 {
		held = slices.DeleteFunc(held, func(h holder.Status) bool { return !slices.Contains(things, h.Thing) })
	}
	open, err := list(ctx, api, things)
	if err != nil {
		return lsError(err)
	}
	absent := missing(ctx, cfg, things, held, open)
	if ctx.Err() != nil {
		return lsError(context.Canceled)
	}
	switch {
	case o.prune:
		err = o.pruneUnused(ctx, cmd, api, held, open)
	case len(held)+len(open) > 0 || o.output != "table":
		err = o.print(cmd.OutOrStdout(), held, open)
	case absent == nil:
		fmt.Fprintln(cmd.ErrOrStderr(), "culvert: no tunnel is open")
	}
	return cmp.Or(err, absent)
}

// lookUpTime bounds the wait for whether things exist, all of them together.
const lookUpTime = 3 * time.Second

// missing is the error of those of the things that have no tunnel because they do not exist, as far as that can be found out.
func missing(ctx context.Context, cfg aws.Config, things []string, held []holder.Status, open []opentunnels.Tunnel) error {
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	exists := connect.FromAWS(cfg)
	absent := fleet.AbsentError{Region: cfg.Region}
	for i, thing := range things {
		known := slices.Contains(things[:i], thing) ||
			slices.ContainsFunc(held, func(h holder.Status) bool { return h.Thing == thing }) ||
			slices.ContainsFunc(open, func(t opentunnels.Tunnel) bool { return t.Thing == thing })
		if !known && exists.CheckThing(ctx, thing) != nil {
			absent.Names = append(absent.Names, thing)
		}
	}
	if len(absent.Names) == 0 {
		return nil
	}
	return &exitError{exitFailed, &absent}
}

// list returns the open tunnels of things, or of all.
func list(ctx context.Context, api opentunnels.API, things []string) (all []opentunnels.Tunnel, err error) {
	if len(things) == 0 {
		return opentunnels.List(ctx, api, "")
	}
	for i, thing := range things {
		if slices.Contains(things[:i], thing) {
			continue
		}
		of, err := opentunnels.List(ctx, api, thing)
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	return all, nil
}

// held returns the state of the user's holders, and the logs of those that do not answer.
func (o *tunnelsOptions) held() (held []holder.Status, silent []string, err error) {
	if !holder.Supported {
		return nil, nil, nil
	}
	dir, err := holder.Directory()
	if err != nil {
		return nil, nil, err
	}
	return holder.All(dir, version.Get().String())
}

// end ends the holders of a thing.
func (o *tunnelsOptions) end() error {
	n := 0
	var silent []string
	if holder.Supported {
		dir, err := holder.Directory()
		if err == nil {
			n, silent, err = holder.Close(dir, version.Get().String(), o.close)
		}
		if err != nil {
			return &exitError{exitFailed, err}
		}
	}
	if n == 0 && len(silent) > 0 {
		return &exitError{exitFailed, hint.New("a background process does not answer, so it is unknown whether it holds a tunnel to "+o.close,
			"it is stopped or hangs: end the process that its log names, "+strings.Join(silent, ", "))}
	}
	if n == 0 {
		return &exitError{exitFailed, hint.New("no tunnel to "+o.close+" is held", "culvert tunnels lists those that are; culvert close-tunnel --thing closes one that is not held")}
	}
	return nil
}

// validThing refuses what cannot be the name of a thing.
func validThing(name string) error {
	if !services.ValidName(name) {
		return hint.Wrapf(errors.New("\""+name+"\" cannot be the name of a thing"), "1 to 128 of a-z, A-Z, 0-9, :, _ and - are allowed")
	}
	return nil
}
