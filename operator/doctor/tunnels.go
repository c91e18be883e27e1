package doctor

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/operator/presence"
)

// manyTunnels is culvertd's default of tunnel.max_tunnels.
const manyTunnels = 8

// tunnels looks at the thing's open tunnels.
func (d *doctor) tunnels(ctx context.Context) bool {
	client := iotsecuretunneling.NewFromConfig(d.cfg.AWS)
	pages := iotsecuretunneling.NewListTunnelsPaginator(client, &iotsecuretunneling.ListTunnelsInput{ThingName: aws.String(d.thing)})
	var open []string
	for first := true; pages.HasMorePages(); first = false {
		page, err := pages.NextPage(ctx)
		if first {
			d.endpoint(d.route)
		}
		if err != nil {
			d.unknown(ctx, "tunnels", "iot:ListTunnels", err)
			return false
		}
		for _, t := range page.TunnelSummaries {
			if t.Status == types.TunnelStatusOpen {
				open = append(open, aws.ToString(t.TunnelId))
			}
		}
	}
	switch {
	case len(open) == 0:
		d.ok("tunnels", "none is open")
		return true
	case len(open) > manyTunnels:
		d.warn("tunnels", "close those that are not used: culvert list-tunnels --thing-name "+d.thing,
			"%d are open; a device serves %d at a time by default (tunnel.max_tunnels)", len(open), manyTunnels)
	default:
		d.ok("tunnels", "%d open", len(open))
	}
	const shown = 5
	for _, id := range open[:min(shown, len(open))] {
		d.tunnel(ctx, client, id)
	}
	return true
}

// tunnel shows one tunnel's ends.
func (d *doctor) tunnel(ctx context.Context, client *iotsecuretunneling.Client, id string) {
	out, err := client.DescribeTunnel(ctx, &iotsecuretunneling.DescribeTunnelInput{TunnelId: &id})
	if err != nil || out.Tunnel == nil {
		d.unknown(ctx, "tunnel", "iot:DescribeTunnel", err)
		return
	}
	t := out.Tunnel
	side := func(s *types.ConnectionState) bool { return s != nil && s.Status == types.ConnectionStatusConnected }
	source, destination := side(t.SourceConnectionState), side(t.DestinationConnectionState)
	left := ""
	if t.CreatedAt != nil && t.TimeoutConfig != nil && t.TimeoutConfig.MaxLifetimeTimeoutMinutes != nil {
		end := t.CreatedAt.Add(time.Duration(*t.TimeoutConfig.MaxLifetimeTimeoutMinutes) * time.Minute)
		left = ", " + presence.Rough(time.Until(end)) + " left"
	}
	services := "no service"
	if t.DestinationConfig != nil && len(t.DestinationConfig.Services) > 0 {
		services = t.DestinationConfig.Services[0]
		for _, s := range t.DestinationConfig.Services[1:] {
			services += ", " + s
		}
	}
	switch {
	case source && destination:
		d.ok("tunnel", "%s (%s%s): both sides are connected", id, services, left)
	case destination:
		d.ok("tunnel", "%s (%s%s): the device is connected, no operator is", id, services, left)
	case source:
		d.warn("tunnel", "rotate the destination's token, which notifies the device again; culvert does so by itself",
			"%s (%s%s): an operator is connected, the device is not", id, services, left)
	default:
		d.ok("tunnel", "%s (%s%s): no side is connected", id, services, left)
	}
}
