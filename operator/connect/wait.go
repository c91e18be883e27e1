package connect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// How the wait for the device goes. A device that is there takes well below a second.
const (
	firstPoll   = 25 * time.Millisecond
	earlyPoll   = 200 * time.Millisecond // at most, during the first
	early       = 3 * time.Second
	longestPoll = 2 * time.Second
	adviseAfter = 8 * time.Second
	// notifyEvery is how often the device is notified. It may have been offline, or the notification was lost.
	notifyEvery = 25 * time.Second
)

// waiter waits until the device has connected to a tunnel with the token that was made for it.
type waiter struct {
	*Config

	thing  string
	tunnel *tunnel
	began  time.Time
	// stale is when the device's state last changed before its token was made: a connection of that time is not the
	// one to wait for, and may be about to end.
	stale    time.Time
	advised  bool
	notified time.Time // last
	// connected is since when the device is there, by the service's clock.
	connected time.Time
}

// wait returns when the device is there. ctx bounds it.
func (w *waiter) wait(ctx context.Context) error {
	w.began, w.stale = time.Now(), w.tunnel.destinationBefore
	w.notified = w.began
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

// help says what may be wrong, and notifies the device again.
func (w *waiter) help(ctx context.Context) error {
	if !w.advised && time.Since(w.began) > adviseAfter {
		w.advised = true
		w.adviseAbsent(ctx)
	}
	if time.Since(w.notified) < notifyEvery {
		return nil
	}
	w.notified = time.Now()
	w.step("notifying %s once more", w.thing)
	if d, err := w.describe(ctx, w.tunnel.id); err == nil {
		w.stale, _ = changed(d.DestinationConnectionState)
		if w.stale.IsZero() {
			w.stale = w.tunnel.destinationBefore
		}
	}
	err := w.notify(ctx, w.tunnel, w.thing)
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

// adviseAbsent says why the device may not come. One that other tunnels reach is not offline.
func (w *waiter) adviseAbsent(ctx context.Context) {
	if w.adviseFull(ctx, w.thing, w.tunnel.id) {
		return
	}
	w.advise("%s does not answer. It may be offline: the tunnel comes up when it is back", w.thing)
	w.advise("Or its policy lets it neither subscribe to nor receive $aws/things/%s/tunnels/notify", w.thing)
	where := "this region"
	if w.Region != "" {
		where = w.Region
	}
	w.advise("Or it is connected to another region or account than %s. On the device: culvertd check, culvertd status", where)
}

// adviseFull says what to do if other tunnels reach the device, which then has no place for this one. It reports whether
// they do.
func (c *Config) adviseFull(ctx context.Context, thing, id string) bool {
	n := c.otherTunnels(ctx, thing, id)
	if n == 0 {
		return false
	}
	others := "another tunnel"
	if n > 1 {
		others = fmt.Sprintf("%d other tunnels", n)
	}
	c.advise("%s is online: it is connected to %s. It may take no more than that (max_tunnels of culvertd)", thing, others)
	c.advise("Close one that is not needed (culvert list-tunnels, culvert close-tunnel), or raise the limit on the device")
	return true
}

// otherTunnels counts the thing's open tunnels, but for the one with this id, to which the device is connected.
func (c *Config) otherTunnels(ctx context.Context, thing, id string) (n int) {
	find := &finder{Config: c, thing: thing, skip: map[string]bool{id: true}}
	ids, err := find.list(ctx)
	if err != nil {
		return 0
	}
	for _, id := range ids[:min(len(ids), maxCandidates)] {
		d, err := c.describe(ctx, id)
		if err != nil {
			return n
		}
		if _, connected := changed(d.DestinationConnectionState); connected {
			n++
		}
	}
	return n
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
		hint:   "run the command again when it is online, or let it wait longer with --wait; on the device, culvertd check tells what is wrong",
	}
}
