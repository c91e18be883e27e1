package awscli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// complete fills in what the user left to culvert: the tunnel of --thing, and whom a rotation is to notify.
func (r *run) complete(client *iotsecuretunneling.Client, params map[string]any) error {
	ctx := r.cmd.Context()
	if r.thing != "" {
		found, err := newestOpen(ctx, client, r.thing)
		if err != nil {
			return err
		}
		note(r.cmd, "the newest open tunnel to %s is %s, opened at %s", r.thing, aws.ToString(found.TunnelId), isoStamp(aws.ToTime(found.CreatedAt)))
		params[r.input[0].name] = aws.ToString(found.TunnelId)
		if r.input[0].name == arn.name {
			params[arn.name] = aws.ToString(found.TunnelArn)
		}
	}
	if r.name == "RotateTunnelAccessToken" && !r.noFill {
		return r.fill(ctx, client, params)
	}
	return nil
}

// newestOpen finds the newest open tunnel to a thing.
func newestOpen(ctx context.Context, client *iotsecuretunneling.Client, thing string) (*types.TunnelSummary, error) {
	var newest *types.TunnelSummary
	closed := 0
	pages := iotsecuretunneling.NewListTunnelsPaginator(client, &iotsecuretunneling.ListTunnelsInput{ThingName: &thing})
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
		return nil, &Error{
			Code: exitService, Text: text,
			Advice: "check the name and --region, or open one: culvert open-tunnel --destination-config thingName=" + thing + ",services=SSH",
		}
	}
	return newest, nil
}

// fill takes a missing destinationConfig from the tunnel. Without one the device would be cut off and never hear of
// its new token (AWS IoT developer guide: the notification goes to the thing of the destinationConfig).
func (r *run) fill(ctx context.Context, client *iotsecuretunneling.Client, params map[string]any) error {
	_, given := params[destinationConfig.name]
	if mode := params[clientMode.name]; given || mode != "DESTINATION" && mode != "ALL" {
		return nil
	}
	id, _ := params[tunnelID.name].(string)
	described, err := client.DescribeTunnel(ctx, &iotsecuretunneling.DescribeTunnelInput{TunnelId: &id})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return nil // the rotation will say so
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		switch e.ErrorCode() {
		case "AccessDeniedException":
			note(r.cmd, "the device will not hear of its new token: --destination-config is missing, and iot:DescribeTunnel, which would tell it, is not allowed")
			return nil
		case "ValidationException":
			return nil // the rotation will say so
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
		note(r.cmd, "the tunnel names no thing: whoever runs its destination must be given the new token by hand")
		return nil
	}
	services := []any{}
	for _, s := range config.Services {
		services = append(services, s)
	}
	params[destinationConfig.name] = map[string]any{"thingName": aws.ToString(config.ThingName), "services": services}
	note(r.cmd, "filled in --destination-config thingName=%s,services=%s from the tunnel, so that the device gets its new token; --no-fill stops it",
		aws.ToString(config.ThingName), strings.Join(config.Services, ","))
	return nil
}
