package connect

import (
	"context"
	"errors"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// How the wait for the device goes. A device that is there takes well below a second.
const (
	firstPoll   = 25 * time.Millisecond
	earlyPoll   = 200 * time.Millisecond // at most, during the first
	early       = 3 * time.Second
	longestPoll = 2 * time.Second
	adviseAfter = 8 * time.Second
	rotateAfter = 20 * time.Second
)

// waiter waits until the device has connected to a tunnel with the token that was made for it.
type waiter struct {
	*Config

	thing  string
	tunnel *tunnel
	began  time.Time
	// stale is when the device's state last changed before its token was made: a connection of that time is not the
	// one to wait for, and may be about to end.
	stale            time.Time
	advised, rotated bool
	// connected is since when the device is there, by the service's clock.
	connected time.Time
}

// wait returns when the device is there. ctx bounds it.
func (w *waiter) wait(ctx context.Context) error {
	w.began, w.stale = time.Now(), w.tunnel.destinationBefore
	w.step("waiting for %s", w.thing)
	limit := earlyPoll
	for delay := firstPoll; ; delay = min(delay*3/2, limit) {
		if time.Since(w.began) > early {
			limit = longestPoll
		}
		if err := backoff.Sleep(ctx, delay); err != nil {
			return w.absent(err)
		}
		d, err := w.describe(ctx, w.tunnel.id)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return w.absent(context.Cause(ctx))
		case isGone(err):
			return closedError(w.tunnel.id)
		case isThrottled(err):
			delay = longestPoll
			continue
		default:
			return err
		}
		if d.Status != types.TunnelStatusOpen {
			return closedError(w.tunnel.id)
		}
		if at, connected := changed(d.DestinationConnectionState); connected && (w.stale.IsZero() || at.After(w.stale)) {
			w.connected = at
			return nil
		}
		if err := w.help(ctx); err != nil {
			return err
		}
	}
}

// help says what may be wrong, and tells the device once more.
func (w *waiter) help(ctx context.Context) error {
	waited := time.Since(w.began)
	if !w.advised && waited > adviseAfter {
		w.advised = true
		w.advise("%s does not answer. It may be offline: the notification reaches it when it is back within the hour, if its session is persistent (mqtt.persistent_session)", w.thing)
		w.advise("Or its policy lets it neither subscribe to nor receive $aws/things/%s/tunnels/notify", w.thing)
		where := "this region"
		if w.Region != "" {
			where = w.Region
		}
		w.advise("Or it is connected to another region or account than %s. On the device: culvertd check, culvertd status", where)
	}
	if w.rotated || waited < rotateAfter {
		return nil
	}
	// The notification may have been lost, or the device was offline when it was sent.
	w.rotated = true
	w.step("notifying %s once more", w.thing)
	if d, err := w.describe(ctx, w.tunnel.id); err == nil {
		w.stale, _ = changed(d.DestinationConnectionState)
		if w.stale.IsZero() {
			w.stale = w.tunnel.destinationBefore
		}
	}
	_, err := w.API.RotateTunnelAccessToken(ctx, &iot.RotateTunnelAccessTokenInput{
		TunnelId: &w.tunnel.id, ClientMode: types.ClientModeDestination,
		DestinationConfig: &types.DestinationConfig{ThingName: &w.thing, Services: w.tunnel.services},
	})
	switch {
	case err == nil:
	case isGone(err):
		return closedError(w.tunnel.id)
	case ctx.Err() == nil:
		w.notice("the token of %s could not be rotated again: %v", w.thing, err)
	}
	w.step("waiting for %s", w.thing)
	return nil
}

// errWaited ends a wait that took as long as it may.
var errWaited = errors.New("waited long enough")

func (w *waiter) absent(err error) error {
	if !errors.Is(err, errWaited) {
		return err
	}
	return &Error{
		Reason: DeviceAbsent,
		Text:   w.thing + " did not connect within " + w.Wait.String(),
		hint:   "it must be online when the token is sent: run the command again when it is; on the device, culvertd check tells what is wrong",
	}
}
