package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// AbsentError is the error of a selection that names things which do not exist.
type AbsentError struct {
	Names    []string // of no thing
	Patterns []string // all patterns of the selection, if no thing matches any of them
	Region   string   // that was looked at; may be empty
}

// Error names up to 10 of the names and patterns each.
func (e *AbsentError) Error() string {
	place := " in " + cmp.Or(e.Region, "this region") + " of this account"
	none := "no thing matches " + some(e.Patterns)
	switch {
	case len(e.Names) == 0:
		return none + place
	case len(e.Patterns) > 0:
		place += ", and " + none
	}
	if len(e.Names) == 1 {
		return "there is no thing " + e.Names[0] + place
	}
	return "there are no things " + some(e.Names) + place
}

// Hint says what to do.
func (e *AbsentError) Hint() string {
	return "check what was typed, --profile and --region; culvert ls lists the things that exist"
}

// some joins the first words of a list, and says how many there are if those are not all.
func some(words []string) string {
	const most = 10
	if len(words) <= most {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
}

// isPattern reports whether p is more than a name.
func isPattern(p string) bool { return strings.ContainsAny(p, `*?[\`) }

// search selects what is listed, and notes which names and patterns it has met.
type search struct {
	names    map[string]bool // true: it was listed
	patterns []string
	matched  bool // one of the patterns has matched
}

func newSearch(f Filter) *search {
	s := &search{names: map[string]bool{}}
	for _, p := range f.Names {
		if isPattern(p) {
			s.patterns = append(s.patterns, p)
		} else {
			s.names[p] = false
		}
	}
	return s
}

func (s *search) selects(name string) bool {
	_, named := s.names[name]
	if named {
		s.names[name] = true
	}
	matches := slices.ContainsFunc(s.patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok })
	s.matched = s.matched || matches
	return named || matches || len(s.names)+len(s.patterns) == 0
}

// absent returns an [*AbsentError] for what no thing has, once all things have been listed. A filter leaves things out
// that exist, so it takes a call for each name that was not listed; a name that the caller may not ask for is left alone.
func (s *search) absent(ctx context.Context, cfg aws.Config, f Filter) error {
	e := &AbsentError{Region: cfg.Region}
	for name, listed := range s.names {
		if !listed {
			e.Names = append(e.Names, name)
		}
	}
	slices.Sort(e.Names)
	if f.filters() {
		missing := make([]bool, len(e.Names))
		client := iot.NewFromConfig(cfg)
		Each(ctx, atATime, e.Names, func(i int, name string) {
			_, err := client.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &name})
			_, missing[i] = errors.AsType[*types.ResourceNotFoundException](err)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var names []string
		for i, name := range e.Names {
			if missing[i] {
				names = append(names, name)
			}
		}
		e.Names = names
	} else if !s.matched {
		e.Patterns = s.patterns
	}
	if len(e.Names)+len(e.Patterns) == 0 {
		return nil
	}
	return e
}
