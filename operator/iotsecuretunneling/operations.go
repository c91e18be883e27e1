package iotsecuretunneling

import (
	"context"

	"github.com/aws/smithy-go/middleware"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// OpenTunnelInput describes the tunnel to open. Nothing in it is required.
type OpenTunnelInput struct {
	Description       *string                  `json:"description,omitempty"`       // 1 to 2048 characters
	DestinationConfig *types.DestinationConfig `json:"destinationConfig,omitempty"` // nil: you give the device its token by other means
	Tags              []types.Tag              `json:"tags,omitempty"`              // up to 200
	TimeoutConfig     *types.TimeoutConfig     `json:"timeoutConfig,omitempty"`     // nil: 12 hours
}

// OpenTunnelOutput holds the only copy of the tokens: no call returns them again.
type OpenTunnelOutput struct {
	TunnelId               *string             `json:"tunnelId"` //nolint:revive,staticcheck // the name in the AWS SDK
	TunnelArn              *string             `json:"tunnelArn"`
	SourceAccessToken      *string             `json:"sourceAccessToken"`
	DestinationAccessToken *string             `json:"destinationAccessToken"`
	ResultMetadata         middleware.Metadata `json:"-"`
}

// OpenTunnel opens a tunnel, and notifies the thing if one is named.
//
// The service charges for tunnels and has no idempotency token, so a call is repeated only if it certainly had no
// effect: it was throttled, or never sent. Error: [*types.LimitExceededException].
func (c *Client) OpenTunnel(ctx context.Context, params *OpenTunnelInput, optFns ...func(*Options)) (*OpenTunnelOutput, error) {
	return invoke[OpenTunnelOutput](ctx, c, "OpenTunnel", params, optFns)
}

// RotateTunnelAccessTokenInput names the sides whose tokens to replace.
type RotateTunnelAccessTokenInput struct {
	ClientMode types.ClientMode `json:"clientMode"` // required
	TunnelId   *string          `json:"tunnelId"`   //nolint:revive,staticcheck // the name in the AWS SDK; required

	// DestinationConfig names the thing to notify of the destination's new token. The service refuses it with SOURCE.
	DestinationConfig *types.DestinationConfig `json:"destinationConfig,omitempty"`
}

// RotateTunnelAccessTokenOutput holds the only copy of the new tokens.
type RotateTunnelAccessTokenOutput struct {
	TunnelArn              *string             `json:"tunnelArn"`
	SourceAccessToken      *string             `json:"sourceAccessToken"`
	DestinationAccessToken *string             `json:"destinationAccessToken"`
	ResultMetadata         middleware.Metadata `json:"-"`
}

// RotateTunnelAccessToken replaces the tokens of one or both sides of an open tunnel. It does not extend the tunnel's
// lifetime. Error: [*types.ResourceNotFoundException], also for a closed tunnel.
func (c *Client) RotateTunnelAccessToken(ctx context.Context, params *RotateTunnelAccessTokenInput, optFns ...func(*Options)) (*RotateTunnelAccessTokenOutput, error) {
	return invoke[RotateTunnelAccessTokenOutput](ctx, c, "RotateTunnelAccessToken", params, optFns)
}

// CloseTunnelInput names the tunnel to close.
type CloseTunnelInput struct {
	TunnelId *string `json:"tunnelId"`         //nolint:revive,staticcheck // the name in the AWS SDK; required
	Delete   *bool   `json:"delete,omitempty"` // true deletes the record at once, not some hours later
}

// CloseTunnelOutput is empty.
type CloseTunnelOutput struct {
	ResultMetadata middleware.Metadata `json:"-"`
}

// CloseTunnel ends a tunnel permanently: the service disconnects both sides. Error:
// [*types.ResourceNotFoundException].
func (c *Client) CloseTunnel(ctx context.Context, params *CloseTunnelInput, optFns ...func(*Options)) (*CloseTunnelOutput, error) {
	return invoke[CloseTunnelOutput](ctx, c, "CloseTunnel", params, optFns)
}

// DescribeTunnelInput names the tunnel to describe.
type DescribeTunnelInput struct {
	TunnelId *string `json:"tunnelId"` //nolint:revive,staticcheck // the name in the AWS SDK; required
}

// DescribeTunnelOutput is the tunnel as it is now.
type DescribeTunnelOutput struct {
	Tunnel         *types.Tunnel       `json:"tunnel"`
	ResultMetadata middleware.Metadata `json:"-"`
}

// DescribeTunnel returns everything about a tunnel but its tokens. Error: [*types.ResourceNotFoundException].
func (c *Client) DescribeTunnel(ctx context.Context, params *DescribeTunnelInput, optFns ...func(*Options)) (*DescribeTunnelOutput, error) {
	return invoke[DescribeTunnelOutput](ctx, c, "DescribeTunnel", params, optFns)
}

// ListTunnelsInput asks for a page of the account's tunnels in the region.
type ListTunnelsInput struct {
	MaxResults *int32  `json:"maxResults,omitempty"` // 1 to 100
	NextToken  *string `json:"nextToken,omitempty"`  // of the page before
	ThingName  *string `json:"thingName,omitempty"`  // only tunnels to this thing
}

// ListTunnelsOutput is a page, newest tunnels first. Closed tunnels stay listed for some hours.
type ListTunnelsOutput struct {
	TunnelSummaries []types.TunnelSummary `json:"tunnelSummaries"`
	NextToken       *string               `json:"nextToken"` // nil on the last page
	ResultMetadata  middleware.Metadata   `json:"-"`
}

// ListTunnels returns one page. [NewListTunnelsPaginator] visits all pages.
func (c *Client) ListTunnels(ctx context.Context, params *ListTunnelsInput, optFns ...func(*Options)) (*ListTunnelsOutput, error) {
	return invoke[ListTunnelsOutput](ctx, c, "ListTunnels", params, optFns)
}

// TagResourceInput adds tags to a tunnel.
type TagResourceInput struct {
	ResourceArn *string     `json:"resourceArn"` // required: the tunnel's ARN
	Tags        []types.Tag `json:"tags"`        // required
}

// TagResourceOutput is empty.
type TagResourceOutput struct {
	ResultMetadata middleware.Metadata `json:"-"`
}

// TagResource adds tags and replaces those with the same keys. Error: [*types.ResourceNotFoundException].
func (c *Client) TagResource(ctx context.Context, params *TagResourceInput, optFns ...func(*Options)) (*TagResourceOutput, error) {
	return invoke[TagResourceOutput](ctx, c, "TagResource", params, optFns)
}

// UntagResourceInput removes tags from a tunnel.
type UntagResourceInput struct {
	ResourceArn *string  `json:"resourceArn"` // required: the tunnel's ARN
	TagKeys     []string `json:"tagKeys"`     // required
}

// UntagResourceOutput is empty.
type UntagResourceOutput struct {
	ResultMetadata middleware.Metadata `json:"-"`
}

// UntagResource removes tags. Unknown keys are not an error. Error: [*types.ResourceNotFoundException].
func (c *Client) UntagResource(ctx context.Context, params *UntagResourceInput, optFns ...func(*Options)) (*UntagResourceOutput, error) {
	return invoke[UntagResourceOutput](ctx, c, "UntagResource", params, optFns)
}

// ListTagsForResourceInput names the tunnel whose tags to list.
type ListTagsForResourceInput struct {
	ResourceArn *string `json:"resourceArn"` // required: the tunnel's ARN
}

// ListTagsForResourceOutput holds the tags.
type ListTagsForResourceOutput struct {
	Tags           []types.Tag         `json:"tags"`
	ResultMetadata middleware.Metadata `json:"-"`
}

// ListTagsForResource returns a tunnel's tags. Error: [*types.ResourceNotFoundException].
func (c *Client) ListTagsForResource(ctx context.Context, params *ListTagsForResourceInput, optFns ...func(*Options)) (*ListTagsForResourceOutput, error) {
	return invoke[ListTagsForResourceOutput](ctx, c, "ListTagsForResource", params, optFns)
}
