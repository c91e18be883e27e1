package opentunnels

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/operator/fleet"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// Tunnel is an open tunnel. Its texts are safe to print.
type Tunnel struct {
	ID, Thing, Description string // Thing is "" for a tunnel that was opened without a destination
	Services               []string
	Created                time.Time
	Expires                time.Time // at the latest
	Source, Device         bool      // whether the end is connected
	SourceChanged          time.Time // when the source last connected or left; zero if AWS does not say
}

// Grace is how long a tunnel counts as used after it was opened or its source left. Meanwhile its token may be on its
// way to an operator, or connections may wait to be resumed ([proxy.DefaultResumeTimeout]). It also exceeds the 5
// minutes by which AWS lets this machine's clock be wrong.
const Grace = 15 * time.Minute

// Unused returns "" if no source has used the tunnel for at least [Grace], and otherwise why it must stay open. The
// device does not count: it is connected all the time.
func (t Tunnel) Unused(now time.Time) string {
	switch {
	case t.Source:
		return "in use"
	case t.Created.IsZero():
		return "of unknown age"
	case now.Sub(t.Created) < Grace:
		return fmt.Sprintf("opened less than %d minutes ago", Grace/time.Minute)
	case now.Sub(t.SourceChanged) < Grace:
		return fmt.Sprintf("in use less than %d minutes ago", Grace/time.Minute)
	}
	return ""
}

// API is the part of the control API that this package calls.
type API interface {
	iot.ListTunnelsAPIClient
	DescribeTunnel(context.Context, *iot.DescribeTunnelInput, ...func(*iot.Options)) (*iot.DescribeTunnelOutput, error)
}

// parallel bounds concurrent descriptions: each tunnel takes a call, and AWS limits their rate.
const parallel = 8

// List returns the open tunnels of a thing, or with "" all of the account's in the region, newest first.
func List(ctx context.Context, api API, thing string) ([]Tunnel, error) {
	in := &iot.ListTunnelsInput{MaxResults: aws.Int32(100)}
	if thing != "" {
		in.ThingName = &thing
	}
	var ids []string
	for pages := iot.NewListTunnelsPaginator(api, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range page.TunnelSummaries {
			if t.Status == types.TunnelStatusOpen && t.TunnelId != nil {
				ids = append(ids, *t.TunnelId)
			}
		}
	}
	found := make([]*Tunnel, len(ids))
	var mu sync.Mutex
	var failed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fleet.Each(ctx, parallel, ids, func(i int, id string) {
		t, err := Describe(ctx, api, id)
		mu.Lock()
		defer mu.Unlock()
		if found[i] = t; err != nil && failed == nil {
			failed = err
			cancel() // the others would fail as well
		}
	})
	if failed == nil {
		failed = context.Cause(ctx)
	}
	if failed != nil {
		return nil, failed
	}
	list := make([]Tunnel, 0, len(ids))
	for _, t := range found {
		if t != nil {
			list = append(list, *t)
		}
	}
	return list, nil
}

// Describe returns a tunnel's current state; nil if it is no longer open.
func Describe(ctx context.Context, api API, id string) (*Tunnel, error) {
	out, err := api.DescribeTunnel(ctx, &iot.DescribeTunnelInput{TunnelId: &id})
	if _, gone := errors.AsType[*types.ResourceNotFoundException](err); gone {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := out.Tunnel
	if d == nil || d.Status != types.TunnelStatusOpen {
		return nil, nil
	}
	t := &Tunnel{ID: id, Description: clean.Line(aws.ToString(d.Description), 128), Created: aws.ToTime(d.CreatedAt)}
	if c := d.DestinationConfig; c != nil {
		t.Thing = clean.Line(aws.ToString(c.ThingName), 128)
		for _, s := range c.Services {
			t.Services = append(t.Services, clean.Line(s, 128))
		}
	}
	if c := d.TimeoutConfig; c != nil && c.MaxLifetimeTimeoutMinutes != nil && !t.Created.IsZero() {
		t.Expires = t.Created.Add(time.Duration(*c.MaxLifetimeTimeoutMinutes) * time.Minute)
	}
	if s := d.SourceConnectionState; s != nil {
		t.Source, t.SourceChanged = s.Status == types.ConnectionStatusConnected, aws.ToTime(s.LastUpdatedAt)
	}
	if s := d.DestinationConnectionState; s != nil {
		t.Device = s.Status == types.ConnectionStatusConnected
	}
	return t, nil
}
