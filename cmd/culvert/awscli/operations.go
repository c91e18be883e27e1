package awscli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// operation is a command that is one call of the control API.
type operation struct {
	name    string // as on the wire, and in tables
	command string
	alias   string
	short   string
	long    string
	example string
	input   []shape
	output  []shape

	// byThing lets --thing stand for the tunnel.
	byThing bool
	// tokens says that the answer holds access tokens.
	tokens bool

	call func(context.Context, *iotsecuretunneling.Client, map[string]any) (any, error)
}

// method makes an operation's call of a client's method.
func method[In, Out any](m func(*iotsecuretunneling.Client, context.Context, *In, ...func(*iotsecuretunneling.Options)) (*Out, error)) func(context.Context, *iotsecuretunneling.Client, map[string]any) (any, error) {
	return func(ctx context.Context, c *iotsecuretunneling.Client, params map[string]any) (any, error) {
		in := new(In)
		if err := into(params, in); err != nil {
			return nil, err
		}
		out, err := m(c, ctx, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// into fills a structure of the client, whose fields are named as on the wire but for capitals.
func into(params map[string]any, in any) error {
	text, err := json.Marshal(params)
	if err == nil {
		err = json.Unmarshal(text, in)
	}
	if err != nil {
		return &usageError{fmt.Errorf("parameter validation failed: %w", err)}
	}
	return nil
}

type client = iotsecuretunneling.Client

var operations = []operation{
	{
		name: "OpenTunnel", command: "open-tunnel", alias: "open", tokens: true,
		short: "Open a tunnel to a device",
		long: "Opens a tunnel and prints its id and the tokens of both ends. Whoever has a\n" +
			"token is that end: --token-file keeps them off the screen. They are told only\n" +
			"once; rotate-tunnel-access-token makes new ones. The device of a thing that is\n" +
			"named in --destination-config gets its token by itself.\n\n" +
			"AWS charges for each tunnel opened.",
		example: "culvert open-tunnel --destination-config thingName=my-pi,services=SSH,HTTP \\\n" +
			"      --timeout-config maxLifetimeTimeoutMinutes=60 --tags key=team,value=field",
		input: []shape{text("description", "a text to know the tunnel by"), tags, destinationConfig, timeoutConfig},
		output: []shape{
			{name: "tunnelId"}, {name: "tunnelArn"}, {name: "sourceAccessToken"}, {name: "destinationAccessToken"},
		},
		call: method((*client).OpenTunnel),
	},
	{
		name: "RotateTunnelAccessToken", command: "rotate-tunnel-access-token", alias: "rotate", tokens: true, byThing: true,
		short: "Replace the tokens of a tunnel's ends",
		long: "Replaces the source's token, the destination's or both, and prints the new\n" +
			"ones. Whoever has a token is that end: --token-file keeps them off the screen.\n" +
			"The old ones are worthless from then on. The tunnel does not live longer for\n" +
			"it: it still ends when its lifetime is over.\n\n" +
			"The device gets its new token only if --destination-config names it. Where that\n" +
			"is missing with DESTINATION and ALL, culvert takes it from the tunnel and says\n" +
			"so; --no-fill stops it. With SOURCE the service refuses it.",
		example: "culvert rotate-tunnel-access-token --thing my-pi --client-mode ALL\n" +
			"  culvert rotate --tunnel-id $ID --client-mode DESTINATION \\\n" +
			"      --destination-config thingName=my-pi,services=SSH",
		input:  []shape{tunnelID, clientMode, destinationConfig},
		output: []shape{{name: "tunnelArn"}, {name: "sourceAccessToken"}, {name: "destinationAccessToken"}},
		call:   method((*client).RotateTunnelAccessToken),
	},
	{
		name: "CloseTunnel", command: "close-tunnel", alias: "close", byThing: true,
		short: "Close a tunnel for good",
		long: "Closes a tunnel: both ends are disconnected, and it can never be opened again.\n" +
			"Its record stays in lists for some hours, unless --delete drops it.",
		example: "culvert close-tunnel --thing my-pi --delete",
		input:   []shape{tunnelID, {name: "delete", kind: booleanKind, doc: "drop the tunnel's record at once"}},
		call:    method((*client).CloseTunnel),
	},
	{
		name: "DescribeTunnel", command: "describe-tunnel", alias: "describe", byThing: true,
		short: "Show a tunnel, and who is connected",
		long:  "Shows all that the service tells of a tunnel. Tokens are not part of it.",
		example: "culvert describe-tunnel --thing my-pi --output text \\\n" +
			"      --query tunnel.destinationConnectionState.status",
		input:  []shape{tunnelID},
		output: []shape{{name: "tunnel", kind: structureKind, members: tunnel}},
		call:   method((*client).DescribeTunnel),
	},
	{
		name: "ListTunnels", command: "list-tunnels", alias: "list",
		short: "List tunnels, newest first",
		long: "Lists the account's tunnels in the region, newest first: all pages, unless\n" +
			"--no-paginate, --max-items, --max-results or --next-token say otherwise. Closed\n" +
			"ones stay for some hours. Who is connected only describe-tunnel knows.",
		example: "culvert list-tunnels --thing-name my-pi --output text \\\n" +
			"      --query \"tunnelSummaries[?status=='OPEN'].tunnelId\"",
		input: []shape{
			some(text("thingName", "only tunnels to this thing")),
			{name: "maxResults", kind: integerKind, least: 1, doc: "most tunnels in one answer, 1 to 100"},
			text("nextToken", "where the answer before ended"),
		},
		output: []shape{{name: "tunnelSummaries", kind: listKind, members: []shape{{name: "TunnelSummary", kind: structureKind, members: summary}}}, {name: "nextToken"}},
		call:   method((*client).ListTunnels),
	},
	{
		name: "TagResource", command: "tag-resource", byThing: true,
		short: "Add tags to a tunnel",
		long:  "Adds tags to a tunnel. A tag with a key that is there already replaces it.",
		example: "culvert tag-resource --resource-arn $ARN \\\n" +
			"      --tags key=team,value=field key=site,value=roof",
		input: []shape{arn, needs(tags)},
		call:  method((*client).TagResource),
	},
	{
		name: "UntagResource", command: "untag-resource", byThing: true,
		short:   "Remove tags from a tunnel",
		long:    "Removes tags from a tunnel. Keys that are not there are no error.",
		example: "culvert untag-resource --resource-arn $ARN --tag-keys team site",
		input:   []shape{arn, tagKeys},
		call:    method((*client).UntagResource),
	},
	{
		name: "ListTagsForResource", command: "list-tags-for-resource", byThing: true,
		short:   "List a tunnel's tags",
		long:    "Lists the tags of a tunnel.",
		example: "culvert list-tags-for-resource --thing my-pi",
		input:   []shape{arn},
		output:  []shape{tags},
		call:    method((*client).ListTagsForResource),
	},
}
