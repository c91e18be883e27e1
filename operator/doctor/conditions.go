package doctor

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// missingKeys returns the condition keys whose values the simulator had to know, sorted.
func missingKeys(results []simulation) []string {
	var keys []string
	for _, r := range results {
		if r.Decision != "allowed" {
			keys = append(keys, r.missing()...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// contextValue is what a call has for a condition key.
type contextValue struct {
	key, kind string
	values    []string
}

// contextValues returns the values that culvert's own calls have for condition keys of tunnels (AWS IoT developer guide,
// tunnel access), as far as this side knows them.
func (d *doctor) contextValues(ctx context.Context, keys []string) []contextValue {
	var known []contextValue
	for _, key := range keys {
		switch strings.ToLower(key) {
		case "iot:tunneldestinationservice":
			known = append(known, contextValue{key, "stringList", []string{"SSH"}}) // of culvert ssh
		case "iot:clientmode":
			known = append(known, contextValue{key, "string", []string{"ALL"}})
		case "iot:delete":
			known = append(known, contextValue{key, "boolean", []string{"false"}})
		case "iot:thinggrouparn":
			if groups, _ := d.thingGroups(ctx); len(groups) > 0 {
				known = append(known, contextValue{key, "stringList", groups})
			}
		}
	}
	return known
}

// thingGroups returns the ARNs of the thing's groups. They are not known if the caller may not see them.
func (d *doctor) thingGroups(ctx context.Context) (arns []string, known bool) {
	out, err := d.iot.ListThingGroupsForThing(ctx, &iot.ListThingGroupsForThingInput{ThingName: &d.thing})
	if err != nil {
		return nil, false
	}
	for _, g := range out.ThingGroups {
		arns = append(arns, aws.ToString(g.GroupArn))
	}
	return arns, true
}

// explainKeys says where the values of condition keys come from.
func explainKeys(keys []string) (texts []string) {
	for _, key := range keys {
		prefix, _, _ := strings.Cut(strings.ToLower(key), "/")
		var text string
		switch prefix {
		case "aws:requesttag", "aws:tagkeys":
			text = "culvert opens tunnels without tags: open one with culvert open-tunnel --tags, and culvert ssh --take-over uses it"
		case "aws:resourcetag":
			text = "tunnels that culvert opened have no tags; culvert tag-resource adds them"
		case "aws:principaltag":
			text = "it is a tag of the caller's IAM user or role"
		case "aws:sourcevpce", "aws:sourcevpc", "aws:vpcsourceip", "aws:sourceip":
			text = "it is about the way of the call, see the line endpoint"
		case "iot:thinggrouparn":
			text = "the thing is in no group, or the caller lacks iot:ListThingGroupsForThing"
		default:
			continue
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}
