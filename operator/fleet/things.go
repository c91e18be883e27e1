package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/services"
)

// pageSize is how many things are asked for at a time. AWS allows 250, and 100 for groups; fewer are shown sooner.
const pageSize = 100

// Filter selects things. The zero value selects all of them.
type Filter struct {
	// Names are patterns as of [path.Match], such as "pi-*"; a thing that matches one is selected. None selects all.
	Names []string
	// Attribute and Value select things by one attribute.
	Attribute, Value string
	// Group selects the things of a static or dynamic thing group, and of the groups below it.
	Group string
	// Query is a fleet indexing query, such as "attributes.site:berlin". It excludes Attribute and Group.
	Query string
}

// Validate returns an error for a filter that selects nothing by mistake.
func (f Filter) Validate() error {
	for _, p := range f.Names {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return hint.New(fmt.Sprintf("%q is not a pattern of names", p), "write it like a shell's: pi-*, pi-[0-9]")
		}
		if !isPattern(p) && !services.ValidName(p) {
			return hint.New(fmt.Sprintf("%q cannot be the name of a thing", p), "1 to 128 of a-z, A-Z, 0-9, :, _ and - are allowed; names are apart by spaces")
		}
	}
	switch {
	case f.Query != "" && (f.Attribute != "" || f.Group != ""):
		return hint.New("a query excludes an attribute and a group", "say both in the query: attributes.site:berlin AND thingGroupNames:north")
	case f.Attribute != "" && f.Group != "":
		return hint.New("an attribute excludes a group", "use a fleet indexing query for both")
	}
	return nil
}

// filters reports whether the filter selects by more than names.
func (f Filter) filters() bool { return f.Attribute != "" || f.Group != "" || f.Query != "" }

// plain returns the names, if they are names and not patterns: those need no list from AWS.
func (f Filter) plain() []string {
	if len(f.Names) == 0 || f.filters() || slices.ContainsFunc(f.Names, isPattern) {
		return nil
	}
	return f.Names
}

// Things yields the selected things' names, a page at a time, in the order in which AWS lists them. An error is the last
// that it yields. It is an [*AbsentError], behind all names, if things do not exist that the filter names beside patterns,
// an attribute, a group or a query, or if no thing of the account matches any pattern. Names alone are not looked up.
func Things(ctx context.Context, cfg aws.Config, f Filter) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		if err := f.Validate(); err != nil {
			yield(nil, err)
			return
		}
		if names := f.plain(); names != nil {
			yield(names, nil)
			return
		}
		client, search := iot.NewFromConfig(cfg), newSearch(f)
		var token *string
		for {
			names, next, err := page(ctx, client, f, token)
			if err != nil {
				yield(nil, err)
				return
			}
			selected := names[:0]
			for _, n := range names {
				if search.selects(n) {
					selected = append(selected, n)
				}
			}
			if !yield(selected, nil) {
				return
			}
			if token = next; aws.ToString(token) == "" {
				break
			}
		}
		if err := search.absent(ctx, cfg, f); err != nil {
			yield(nil, err)
		}
	}
}

func page(ctx context.Context, client *iot.Client, f Filter, token *string) (names []string, next *string, err error) {
	switch {
	case f.Query != "":
		out, err := client.SearchIndex(ctx, &iot.SearchIndexInput{QueryString: &f.Query, NextToken: token, MaxResults: aws.Int32(pageSize)})
		if err != nil {
			return nil, nil, explainIndex(err)
		}
		for _, t := range out.Things {
			names = append(names, aws.ToString(t.ThingName))
		}
		return names, out.NextToken, nil
	case f.Group != "":
		out, err := client.ListThingsInThingGroup(ctx, &iot.ListThingsInThingGroupInput{
			ThingGroupName: &f.Group, Recursive: true, NextToken: token, MaxResults: aws.Int32(pageSize),
		})
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
			err = hint.Wrap(err, "aws iot list-thing-groups lists the groups of this account and region")
		}
		if err != nil {
			return nil, nil, err
		}
		return out.Things, out.NextToken, nil
	}
	in := &iot.ListThingsInput{NextToken: token, MaxResults: aws.Int32(pageSize)}
	if f.Attribute != "" {
		in.AttributeName, in.AttributeValue = &f.Attribute, &f.Value
	}
	out, err := client.ListThings(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range out.Things {
		names = append(names, aws.ToString(t.ThingName))
	}
	return names, out.NextToken, nil
}

// explainIndex says what to do about a query that is wrong, and about an account without fleet indexing.
func explainIndex(err error) error {
	if _, ok := errors.AsType[*types.IndexNotReadyException](err); ok {
		return hint.Wrap(err, "AWS is still building the index: try again in some minutes")
	}
	if _, ok := errors.AsType[*types.InvalidQueryException](err); ok {
		return hint.Wrap(err, "a query is terms such as attributes.site:berlin, thingName:pi-* or thingGroupNames:lab, joined by AND, OR and NOT")
	}
	_, missing := errors.AsType[*types.ResourceNotFoundException](err)
	_, invalid := errors.AsType[*types.InvalidRequestException](err)
	if missing || invalid {
		return hint.Wrap(err, "a query needs fleet indexing of things (aws iot get-indexing-configuration); names, --attribute and --group work without")
	}
	return err
}
