package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/fleet"
	"github.com/culvert-iot/culvert/operator/presence"
)

// selection holds the flags that select things other than by name.
type selection struct{ query, attribute, group string }

func (s *selection) register(f *pflag.FlagSet) {
	f.StringVar(&s.query, "query", "", "fleet indexing `query`, such as attributes.site:berlin, where the account has fleet indexing")
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
