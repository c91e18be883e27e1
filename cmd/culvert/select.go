package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/fleet"
	"github.com/culvert-iot/culvert/operator/presence"
)

// selection holds the flags that select things other than by name.
type selection struct{ query, attribute, group string }

// fleetQuery is the annotation of a --query that is a fleet indexing query, and not the AWS CLI's JMESPath.
const fleetQuery = "fleet"

func (s *selection) register(f *pflag.FlagSet) {
	f.StringVar(&s.query, "query", "", "fleet indexing `query`, such as attributes.site:berlin, where the account has fleet indexing")
	_ = f.SetAnnotation("query", fleetQuery, nil) // the flag exists
	f.StringVar(&s.attribute, "attribute", "", "`NAME=VALUE` of an attribute of the things")
	f.StringVar(&s.group, "group", "", "`name` of a thing group")
}

// filter joins the flags with names, which may be patterns.
func (s *selection) filter(names []string) (fleet.Filter, error) {
	f := fleet.Filter{Names: names, Group: s.group, Query: s.query}
	if s.attribute != "" {
		var ok bool
		if f.Attribute, f.Value, ok = strings.Cut(s.attribute, "="); !ok || f.Attribute == "" {
			return f, fmt.Errorf("--attribute %q: NAME=VALUE is needed", s.attribute)
		}
	}
	return f, f.Validate()
}

// noteConnectivity lets a command that selects things say what a query for connectivity means.
func noteConnectivity(cmd *cobra.Command) {
	f := cmd.Flags().Lookup("query")
	if f == nil {
		return
	}
	if _, ok := f.Annotations[fleetQuery]; !ok {
		return
	}
	cmd.PreRun = func(cmd *cobra.Command, _ []string) {
		quiet := cmd.Flags().Lookup("quiet")
		if strings.Contains(f.Value.String(), "connectivity.") && (quiet == nil || quiet.Value.String() != "true") {
			fmt.Fprintln(cmd.ErrOrStderr(), "culvert: connectivity in --query counts a client named as the thing, and not culvertd; "+
				"culvert ls --online asks for culvertd")
		}
	}
}

// looker asks for the state of a thing's agent.
type looker func(context.Context, string) (presence.State, error)

// Look calls it.
func (l looker) Look(ctx context.Context, thing string) (presence.State, error) { return l(ctx, thing) }

// existing is next with a [*connect.Error] for those of the named things that the account does not have.
func existing(next fleet.Looker, cfg connect.Config, named []string) fleet.Looker {
	return looker(func(ctx context.Context, thing string) (presence.State, error) {
		state, err := next.Look(ctx, thing)
		if err == nil && !state.Known && slices.Contains(named, thing) {
			err = cfg.CheckThing(ctx, thing)
		}
		return state, err
	})
}
