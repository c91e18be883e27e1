package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/operator/fleet"
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
