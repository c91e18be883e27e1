package main

import (
	"context"
	"fmt"
	"time"

	aws "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/sandbox"
)

const thing = "pi-1"

func (t *tunnel) destination() *types.DestinationConfig {
	return &types.DestinationConfig{ThingName: new(thing), Services: t.plan.services}
}

// openTunnel opens an AWS tunnel for t, in place of the one it had.
func (r *run) openTunnel(ctx context.Context, t *tunnel, how sandbox.Notifications) error {
	r.notifications.Lock()
	defer r.notifications.Unlock()
	r.box.SetNotifications(how)
	now := time.Now()
	out, err := r.api.OpenTunnel(ctx, &aws.OpenTunnelInput{DestinationConfig: t.destination()})
	if err != nil {
		return fmt.Errorf("open a tunnel: %w", err)
	}
	t.expectDevice(now)
	t.renew(*out.TunnelId, *out.SourceAccessToken)
	return nil
}

// rotateTokens makes new tokens for the sides that a draw chooses, or all.
func (r *run) rotateTokens(ctx context.Context, t *tunnel, mode types.ClientMode, how sandbox.Notifications) {
	r.notifications.Lock()
	defer r.notifications.Unlock()
	r.box.SetNotifications(how)
	in := &aws.RotateTunnelAccessTokenInput{TunnelId: new(t.ID()), ClientMode: mode}
	if mode != types.ClientModeSource {
		in.DestinationConfig = t.destination()
		t.expectDevice(time.Now())
	}
	out, err := r.api.RotateTunnelAccessToken(ctx, in)
	if err != nil {
		if ctx.Err() == nil {
			r.ledger.violated("tunnel %d: rotate %s: %v", t.index, mode, err)
		}
		return
	}
	if out.SourceAccessToken != nil {
		t.renew(t.ID(), *out.SourceAccessToken)
	}
}

var modes = []types.ClientMode{types.ClientModeDestination, types.ClientModeAll, types.ClientModeSource}

// withTokens runs do while no other fault changes the tunnel's tokens. Once begun it goes to its end, whatever ctx says.
func (r *run) withTokens(ctx context.Context, e event, do func(ctx context.Context, t *tunnel)) bool {
	t := r.tunnels[e.tunnel]
	if !t.tokens.TryLock() {
		return false
	}
	defer t.tokens.Unlock()
	defer r.ledger.disturb(e.tunnel, e.fault)()
	do(context.WithoutCancel(ctx), t)
	return true
}

func (r *run) rotate(ctx context.Context, e event) bool {
	return r.withTokens(ctx, e, func(always context.Context, t *tunnel) {
		notifications := how(e.draw[1])
		if e.draw[2]%3 == 0 {
			notifications.Delay = e.lasts
		}
		r.rotateTokens(always, t, modes[e.draw[0]%3], notifications)
		pause(ctx, notifications.Delay)
	})
}

// rotateLost rotates twice, since the device does not receive the first notification.
func (r *run) rotateLost(ctx context.Context, e event) bool {
	return r.withTokens(ctx, e, func(always context.Context, t *tunnel) {
		r.rotateTokens(always, t, modes[e.draw[0]%2], sandbox.Notifications{Lose: 1})
		pause(ctx, e.lasts)
		r.rotateTokens(always, t, modes[e.draw[0]%2], how(e.draw[1]))
	})
}

// rotateTwice makes the news of the first token come after, or just before, that of the second.
func (r *run) rotateTwice(ctx context.Context, e event) bool {
	return r.withTokens(ctx, e, func(always context.Context, t *tunnel) {
		late := sandbox.Notifications{}
		if e.draw[1]%2 == 0 {
			late.Delay = e.lasts
		}
		r.rotateTokens(always, t, modes[e.draw[0]%2], late)
		pause(ctx, time.Duration(e.draw[2]%300)*ms)
		r.rotateTokens(always, t, modes[e.draw[3]%2], how(e.draw[1]/2))
	})
}

// rotateWhileCut rotates at some moment of a reconnect or of a handshake.
func (r *run) rotateWhileCut(ctx context.Context, e event) bool {
	return r.withTokens(ctx, e, func(always context.Context, t *tunnel) {
		r.cutDevice(ctx, e)
		pause(ctx, e.lasts)
		r.rotateTokens(always, t, modes[e.draw[0]%3], how(e.draw[1]))
	})
}

// replaceTunnel closes the AWS tunnel and opens another.
func (r *run) replaceTunnel(ctx context.Context, e event) bool {
	return r.withTokens(ctx, e, func(always context.Context, t *tunnel) {
		in := &aws.CloseTunnelInput{TunnelId: new(t.ID()), Delete: new(e.draw[0]%2 == 0)}
		if _, err := r.api.CloseTunnel(always, in); err != nil {
			r.ledger.violated("tunnel %d: close: %v", t.index, err)
		}
		if err := r.openTunnel(always, t, how(e.draw[1])); err != nil {
			r.ledger.violated("tunnel %d: %v", t.index, err)
		}
	})
}
