package awscli

import (
	"context"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// operation is a command that makes one call of the control API.
type operation struct {
	name    string // as on the wire, and in tables
	command string
	alias   string
	short   string
	long    string
	example string
	input   []shape
	output  []shape

	// byThing accepts --thing in place of the tunnel.
	byThing bool
	// tokens marks a result that holds access tokens.
	tokens bool

	apiMethod
}

// apiMethod is the client's method of an operation.
type apiMethod struct {
	newInput func() any // a pointer to an input structure
	call     func(ctx context.Context, c *client, in any) (any, error)
}

func method[In, Out any](m func(*client, context.Context, *In, ...func(*iotsecuretunneling.Options)) (*Out, error)) apiMethod {
	return apiMethod{
		newInput: func() any { return new(In) },
		call:     func(ctx context.Context, c *client, in any) (any, error) { return m(c, ctx, in.(*In)) },
	}
}

type client = iotsecuretunneling.Client

var operations = []operation{
	{
		name: "OpenTunnel", command: "open-tunnel", alias: "open", tokens: true,
		short: "Open a tunnel to a device",
		long: "Opens a tunnel and prints its ID and the access tokens of both ends. Anyone\n" +
			"with a token can be that end: --token-file keeps tokens off the screen. AWS\n" +
			"returns them only once; rotate-tunnel-access-token makes new ones. The thing\n" +
			"named in --destination-config receives its token automatically.\n\n" +
			"AWS charges for each tunnel opened.",
		example: "culvert open-tunnel --destination-config thingName=my-pi,services=SSH,HTTP \\\n" +
			"      --timeout-config maxLifetimeTimeoutMinutes=60 --tags key=team,value=field",
		input: []shape{text("description", "a text that describes the tunnel"), tags, destinationConfig, timeoutConfig},
		output: []shape{
			{name: "tunnelId"}, {name: "tunnelArn"}, {name: "sourceAccessToken"}, {name: "destinationAccessToken"},
		},
		apiMethod: method((*client).OpenTunnel),
	},
	{
		name: "RotateTunnelAccessToken", command: "rotate-tunnel-access-token", alias: "rotate", tokens: true, byThing: true,
		short: "Replace the tokens of a tunnel's ends",
		long: "Replaces the source's token, the destination's or both, and prints the new\n" +
			"ones. Anyone with a token can be that end: --token-file keeps tokens off the\n" +
			"screen. The old tokens stop working. The tunnel's lifetime does not change.\n\n" +
			"The device receives its new token only if --destination-config names it. If\n" +
			"that is missing with DESTINATION or ALL, culvert takes it from the tunnel and\n" +
			"says so; --no-fill prevents it. With SOURCE the service refuses it.",
		example: "culvert rotate-tunnel-access-token --thing my-pi --client-mode ALL\n" +
			"  culvert rotate --tunnel-id $ID --client-mode DESTINATION \\\n" +
			"      --destination-config thingName=my-pi,services=SSH",
		input:     []shape{tunnelID, clientMode, destinationConfig},
		output:    []shape{{name: "tunnelArn"}, {name: "sourceAccessToken"}, {name: "destinationAccessToken"}},
		apiMethod: method((*client).RotateTunnelAccessToken),
	},
	{
		name: "CloseTunnel", command: "close-tunnel", alias: "close", byThing: true,
		short: "Close a tunnel permanently",
		long: "Closes a tunnel: both ends are disconnected, and it cannot be opened again.\n" +
			"It stays in lists for some hours, unless --delete removes it at once.",
		example:   "culvert close-tunnel --thing my-pi --delete",
		input:     []shape{tunnelID, {name: "delete", kind: booleanKind, doc: "remove the tunnel's record at once"}},
		apiMethod: method((*client).CloseTunnel),
	},
	{
		name: "DescribeTunnel", command: "describe-tunnel", alias: "describe", byThing: true,
		short: "Show a tunnel and which ends are connected",
		long:  "Shows everything the service returns about a tunnel. Tokens are not part of it.",
		example: "culvert describe-tunnel --thing my-pi --output text \\\n" +
			"      --query tunnel.destinationConnectionState.status",
		input:     []shape{tunnelID},
		output:    []shape{{name: "tunnel", kind: structureKind, members: tunnel}},
		apiMethod: method((*client).DescribeTunnel),
	},
	{
		name: "ListTunnels", command: "list-tunnels", alias: "list",
		short: "List tunnels, newest first",
		long: "Lists the account's tunnels in the region, newest first: all pages, unless\n" +
			"--no-paginate, --max-items, --max-results or --next-token limit it. Closed ones\n" +
			"stay for some hours. Only describe-tunnel shows which ends are connected.",
		example: "culvert list-tunnels --thing-name my-pi --output text \\\n" +
			"      --query \"tunnelSummaries[?status=='OPEN'].tunnelId\"",
		input: []shape{
			some(text("thingName", "only tunnels to this thing")),
			{name: "maxResults", kind: integerKind, least: 1, doc: "most tunnels in one page, 1 to 100"},
			text("nextToken", "where the page before ended"),
		},
		output:    []shape{{name: "tunnelSummaries", kind: listKind, members: []shape{{name: "TunnelSummary", kind: structureKind, members: summary}}}, {name: "nextToken"}},
		apiMethod: method((*client).ListTunnels),
	},
	{
		name: "TagResource", command: "tag-resource", byThing: true,
		short: "Add tags to a tunnel",
		long:  "Adds tags to a tunnel. A tag replaces one with the same key.",
		example: "culvert tag-resource --resource-arn $ARN \\\n" +
			"      --tags key=team,value=field key=site,value=roof",
		input:     []shape{arn, needs(tags)},
		apiMethod: method((*client).TagResource),
	},
	{
		name: "UntagResource", command: "untag-resource", byThing: true,
		short:     "Remove tags from a tunnel",
		long:      "Removes tags from a tunnel. Unknown keys are not an error.",
		example:   "culvert untag-resource --resource-arn $ARN --tag-keys team site",
		input:     []shape{arn, tagKeys},
		apiMethod: method((*client).UntagResource),
	},
	{
		name: "ListTagsForResource", command: "list-tags-for-resource", byThing: true,
		short:     "List a tunnel's tags",
		long:      "Lists the tags of a tunnel.",
		example:   "culvert list-tags-for-resource --thing my-pi",
		input:     []shape{arn},
		output:    []shape{tags},
		apiMethod: method((*client).ListTagsForResource),
	},
}
