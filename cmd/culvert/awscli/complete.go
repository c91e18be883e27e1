package awscli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/internal/hint"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// complete fills in what the user left out: the tunnel of --thing, and the device that a rotation notifies.
func (r *run) complete(client *iot.Client, in any) error {
	ctx := r.cmd.Context()
	if r.thing != "" {
		found, err := newestOpen(ctx, client, r.thing)
		if err != nil {
			return err
		}
		note(r.cmd, "the newest open tunnel to %s is %s, opened at %s", r.thing, aws.ToString(found.TunnelId), isoStamp(aws.ToTime(found.CreatedAt)))
		switch in := in.(type) {
		case *iot.RotateTunnelAccessTokenInput:
			in.TunnelId = found.TunnelId
		case *iot.CloseTunnelInput:
			in.TunnelId = found.TunnelId
		case *iot.DescribeTunnelInput:
			in.TunnelId = found.TunnelId
		case *iot.TagResourceInput:
			in.ResourceArn = found.TunnelArn
		case *iot.UntagResourceInput:
			in.ResourceArn = found.TunnelArn
		case *iot.ListTagsForResourceInput:
			in.ResourceArn = found.TunnelArn
		}
	}
	if in, ok := in.(*iot.RotateTunnelAccessTokenInput); ok && !r.noFill {
		return r.fill(ctx, client, in)
	}
	return nil
}

// newestOpen finds the newest open tunnel to a thing.
func newestOpen(ctx context.Context, client *iot.Client, thing string) (*types.TunnelSummary, error) {
	var newest *types.TunnelSummary
	closed := 0
	pages := iot.NewListTunnelsPaginator(client, &iot.ListTunnelsInput{ThingName: &thing})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range page.TunnelSummaries {
			switch {
			case t.Status != types.TunnelStatusOpen:
				closed++
			case newest == nil || aws.ToTime(t.CreatedAt).After(aws.ToTime(newest.CreatedAt)):
				newest = &t
			}
		}
	}
	if newest == nil {
		text := "There is no open tunnel to the thing " + thing
		if closed > 0 {
			text += fmt.Sprintf(", only %d closed", closed)
		}
		return nil, &Error{exitService, hint.New(text,
			"check the name and --region, or open one: culvert open-tunnel --destination-config thingName="+thing+",services=SSH")}
	}
	return newest, nil
}

// fill takes a missing destinationConfig from the tunnel. Without one, the rotation disconnects the device and does not
// notify it of its new token (AWS IoT developer guide: the notification goes to the thing of the destinationConfig).
func (r *run) fill(ctx context.Context, client *iot.Client, in *iot.RotateTunnelAccessTokenInput) error {
	if in.DestinationConfig != nil || in.ClientMode != types.ClientModeDestination && in.ClientMode != types.ClientModeAll {
		return nil
	}
	described, err := client.DescribeTunnel(ctx, &iot.DescribeTunnelInput{TunnelId: in.TunnelId})
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		switch e.ErrorCode() {
		case "AccessDeniedException":
			note(r.cmd, "the device will not hear of its new token: --destination-config is missing, and iot:DescribeTunnel, which would tell it, is not allowed")
			return nil
		case "ValidationException", "ResourceNotFoundException":
			return nil // the rotation fails the same way
		}
	}
	if err != nil {
		return err
	}
	if described.Tunnel == nil || described.Tunnel.Status == types.TunnelStatusClosed {
		return nil
	}
	config := described.Tunnel.DestinationConfig
	if config == nil || aws.ToString(config.ThingName) == "" || len(config.Services) == 0 {
		note(r.cmd, "the tunnel names no thing: give the new token to the destination yourself")
		return nil
	}
	in.DestinationConfig = config
	note(r.cmd, "filled in --destination-config thingName=%s,services=%s from the tunnel, so that the device gets its new token; --no-fill stops it",
		aws.ToString(config.ThingName), strings.Join(config.Services, ","))
	return nil
}
