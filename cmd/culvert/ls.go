package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/fleet"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/operator/presence"
)

// lsOptions are the flags of ls.
type lsOptions struct {
	aws reachAWS
	selection

	output                             string
	online, offline, tunnels, versions bool
}

func newLsCommand() *cobra.Command {
	var o lsOptions
	cmd := &cobra.Command{
		Use:   "ls [flags] [NAME ...]",
		Short: "List devices: online or not, since when, from where",
		Long: "Lists things with the state of their culvertd's MQTT connection, as AWS IoT knows it. NAME may be a pattern " +
			"such as 'pi-*'. Pages are shown as they come.\n\n" +
			"The caller needs iot:ListThings (iot:ListThingsInThingGroup for --group, iot:SearchIndex for --query), " +
			"iot:DescribeEndpoint, and iot:GetConnection on client/*-tunnel; with --tunnels iot:ListTunnels, and with " +
			"--versions iot:GetRetainedMessage on topic/culvert/*/pong.",
		Example: "  culvert ls\n" +
			"  culvert ls 'pi-*' --offline\n" +
			"  culvert ls --attribute site=berlin --output json",
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := o.check(args)
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			return runLs(cmd, &o, filter)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.selection.register(f)
	f.BoolVar(&o.online, "online", false, "show only things that are connected")
	f.BoolVar(&o.offline, "offline", false, "show only things that are not connected")
	f.BoolVar(&o.tunnels, "tunnels", false, "show how many open tunnels each thing has, with one more call for each")
	f.BoolVar(&o.versions, "versions", false, "show which version of culvertd each device named in its last answer to culvert ping, with one more call for each")
	f.StringVar(&o.output, "output", "table", "`form`: table, text (tabs between fields) or json (an object a line)")
	o.aws.register(f)
	reachHelp(cmd)
	cmd.ValidArgsFunction = completeThings(0)
	return cmd
}

func (o *lsOptions) check(names []string) (fleet.Filter, error) {
	if o.online && o.offline {
		return fleet.Filter{}, errors.New("--online excludes --offline")
	}
	if o.output != "table" && o.output != "text" && o.output != "json" {
		return fleet.Filter{}, fmt.Errorf("--output %q: table, text and json are known", o.output)
	}
	return o.filter(names)
}

func runLs(cmd *cobra.Command, o *lsOptions, filter fleet.Filter) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	cfg, err := operator.LoadConfig(ctx, o.aws.options(cmd.ErrOrStderr()))
	if err != nil {
		return lsError(err)
	}
	cfg = operator.ForMany(cfg, sayThrottled(cmd.ErrOrStderr()))
	l := &lister{out: cmd.OutOrStdout(), form: o.output, now: time.Now()}
	if o.tunnels {
		l.tunnels = iotsecuretunneling.NewFromConfig(cfg)
	}
	looker := presence.New(cfg)
	if o.versions {
		l.answers = looker
	}
	check := existing(looker, connect.FromAWS(cfg), filter.Names)
	shown, absent, unknown := 0, fleet.AbsentError{Region: cfg.Region}, error(nil)
	for names, err := range fleet.Things(ctx, cfg, filter) {
		if e, ok := errors.AsType[*fleet.AbsentError](err); ok {
			absent.Names, absent.Patterns = append(absent.Names, e.Names...), e.Patterns
			break
		}
		if err != nil {
			return lsError(err)
		}
		var page []fleet.Thing
		for _, t := range fleet.Look(ctx, check, names) {
			if _, missing := errors.AsType[*connect.Error](t.Err); missing {
				absent.Names = append(absent.Names, t.Name)
				continue
			}
			if t.Err != nil && unknown == nil {
				unknown = t.Err
			}
			if o.online && !t.State.Connected || o.offline && (t.State.Connected || t.Err != nil) {
				continue
			}
			page = append(page, t)
		}
		rows, err := l.rows(ctx, page)
		if ctx.Err() != nil {
			return &exitError{exitInterrupted, errors.New("interrupted")}
		}
		if err != nil {
			return lsError(err)
		}
		for i, r := range rows {
			if err := l.print(r, page[i].State.Ago(l.now)); err != nil {
				return lsError(err)
			}
		}
		shown += len(rows)
	}
	switch {
	case len(absent.Names) > 0:
		return &exitError{exitFailed, &absent}
	case len(absent.Patterns) > 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "culvert:", &absent)
	case shown == 0 && unknown == nil:
		fmt.Fprintln(cmd.ErrOrStderr(), "culvert: no thing matches")
	}
	if unknown != nil {
		return &exitError{exitFailed, fmt.Errorf("the state of some things is not known: %w", operator.Explain(unknown))}
	}
	return nil
}

// sayThrottled returns what says once that a command waits since AWS throttles it.
func sayThrottled(w io.Writer) func() {
	return sync.OnceFunc(func() {
		_, _ = io.WriteString(w, "culvert: AWS throttles the calls: waiting to repeat them\n")
	})
}

func lsError(err error) error {
	if errors.Is(err, context.Canceled) {
		return &exitError{exitInterrupted, errors.New("interrupted")}
	}
	return &exitError{exitFailed, operator.Explain(err)}
}

// lister prints things in one of three forms.
type lister struct {
	out     io.Writer
	form    string
	now     time.Time
	tunnels *iotsecuretunneling.Client // nil: the number of tunnels is not asked for
	answers *presence.Client           // nil: versions are not asked for

	headed bool
}

// row is one thing as --output json has it.
type row struct {
	Thing   string     `json:"thing"`
	State   string     `json:"state"` // online, offline, never, unknown
	Since   *time.Time `json:"since,omitempty"`
	Address string     `json:"address,omitempty"`
	Reason  string     `json:"reason,omitempty"`
	Version *string    `json:"version,omitempty"` // "" if the device never said
	Tunnels *int       `json:"tunnels,omitempty"`
	Error   string     `json:"error,omitempty"`
}

// rows makes the rows of a page, and asks for more about some things at a time.
func (l *lister) rows(ctx context.Context, page []fleet.Thing) ([]row, error) {
	const atATime = 16
	list, errs, names := make([]row, len(page)), make([]error, len(page)), make([]string, len(page))
	for i, t := range page {
		list[i], names[i] = rowOf(t), t.Name
	}
	if l.tunnels != nil || l.answers != nil {
		fleet.Each(ctx, atATime, names, func(i int, name string) { errs[i] = l.more(ctx, name, &list[i]) })
	}
	return list, cmp.Or(errs...)
}

// more adds to a thing's row what takes a call each.
func (l *lister) more(ctx context.Context, name string, r *row) error {
	if l.tunnels != nil {
		n, err := countOpen(ctx, l.tunnels, name)
		if err != nil {
			return err
		}
		r.Tunnels = &n
	}
	if l.answers != nil {
		answer, err := l.answers.LastAnswer(ctx, name)
		if err != nil && !errors.Is(err, presence.ErrNoAnswer) {
			return err
		}
		r.Version = &answer.Version
	}
	return nil
}

func rowOf(t fleet.Thing) row {
	r := row{Thing: clean.Line(t.Name, 128), Address: t.State.Address, Reason: t.State.Reason}
	switch {
	case t.Err != nil:
		r.State, r.Error = "unknown", operator.Explain(t.Err).Error()
	case t.State.Connected:
		r.State = "online"
	case t.State.Known:
		r.State = "offline"
	default:
		r.State = "never"
	}
	if !t.State.Since.IsZero() {
		r.Since = &t.State.Since
	}
	return r
}

// countOpen returns how many open tunnels a thing has.
func countOpen(ctx context.Context, client *iotsecuretunneling.Client, thing string) (n int, err error) {
	pages := iotsecuretunneling.NewListTunnelsPaginator(client, &iotsecuretunneling.ListTunnelsInput{ThingName: aws.String(thing)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		for _, t := range page.TunnelSummaries {
			if t.Status == types.TunnelStatusOpen {
				n++
			}
		}
	}
	return n, nil
}

func (l *lister) print(r row, ago string) error {
	if l.form == "json" {
		return json.NewEncoder(l.out).Encode(r)
	}
	fields, heads, widths := []string{r.Thing, r.State, ago, r.Address}, []string{"THING", "STATE", "SINCE", "ADDRESS"}, []int{28, 9, 8, 20}
	if r.Version != nil {
		fields, heads, widths = append(fields, *r.Version), append(heads, "VERSION"), append(widths, 10)
	}
	if r.Tunnels != nil {
		fields, heads, widths = append(fields, fmt.Sprint(*r.Tunnels)), append(heads, "TUNNELS"), append(widths, 9)
	}
	fields, heads = append(fields, r.Reason), append(heads, "REASON")
	if l.form == "text" {
		_, err := fmt.Fprintln(l.out, strings.Join(fields, "\t"))
		return err
	}
	if !l.headed {
		l.headed = true
		if err := l.line(heads, widths); err != nil {
			return err
		}
	}
	return l.line(fields, widths)
}

// line prints columns of fixed width, since later pages are not known when the first is shown. What is wider pushes
// the rest of its line to the right.
func (l *lister) line(fields []string, widths []int) error {
	var b strings.Builder
	for i, f := range fields {
		b.WriteString(f)
		if i < len(fields)-1 {
			b.WriteString(strings.Repeat(" ", max(2, widths[i]-utf8.RuneCountInString(f))))
		}
	}
	_, err := fmt.Fprintln(l.out, strings.TrimRight(b.String(), " "))
	return err
}
