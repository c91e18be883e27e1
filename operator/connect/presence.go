package connect

import (
	"context"
	"errors"
	"time"

	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/operator/presence"
)

// How a look at the device's MQTT connection goes, which takes place while an open tunnel is looked for.
const (
	// lookTime bounds the look itself.
	lookTime = 3 * time.Second
	// lookPatience is how much longer the look may take than the search: a device that is there must not be reached later.
	lookPatience = 300 * time.Millisecond
	// backSoon is how long a device may be away for and is still waited for: its agent may be starting again.
	backSoon = time.Minute
	// subscribing is what an agent that has just connected has to subscribe in: it misses earlier notifications.
	subscribing = time.Second
	// leastWait is what is left of Config.Wait for the tunnel, however long the device was away.
	leastWait = 10 * time.Second

	firstGlance, lastGlance = 250 * time.Millisecond, 2 * time.Second // between looks at a device that is away
)

// sight is the answer to a look.
type sight struct {
	state presence.State
	err   error
}

// lookOut begins to look at the thing's agent.
func (f *finder) lookOut(ctx context.Context) {
	if f.Presence == nil {
		return
	}
	answer := make(chan sight, 1)
	f.sight = answer
	go func() {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		state, err := f.Presence(ctx, f.thing)
		answer <- sight{state, err}
	}()
}

// present returns when the device is connected to AWS IoT, or when that is not known. It fails if the device is away
// and not to be waited for. Only the first call waits.
func (f *finder) present(ctx context.Context) error {
	if f.sight == nil {
		return nil
	}
	answer := f.sight
	f.sight = nil
	timer := time.NewTimer(lookPatience)
	defer timer.Stop()
	select {
	case s := <-answer:
		switch {
		case s.err != nil: // as of a caller who may not ask
			f.Logger.Debug("connection not looked up", "error", s.err)
			return nil
		case s.state.Connected:
			return nil
		case !s.state.Known:
			f.notice("%s; trying all the same: its agent may use another MQTT client id", s.state.Describe(f.thing, time.Now()))
			return nil
		}
		return f.awaitReturn(ctx, s.state)
	case <-timer.C:
		f.Logger.Debug("connection not looked up in time")
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// awaitReturn waits for a device that is away, if it is to be waited for.
func (f *finder) awaitReturn(ctx context.Context, s presence.State) error {
	began := time.Now()
	patience := f.Wait
	if !f.WaitForAway {
		patience = min(patience, backSoon-began.Sub(s.Since))
	}
	if patience <= 0 {
		return away(s.Describe(f.thing, began))
	}
	f.notice("%s", s.Describe(f.thing, began))
	f.step("waiting for %s to connect to AWS IoT", f.thing)
	until, cancel := context.WithTimeoutCause(ctx, patience, errWaited)
	defer cancel()
	for delay := firstGlance; ; delay = min(2*delay, lastGlance) {
		if err := backoff.Sleep(until, delay); err != nil {
			if errors.Is(err, errWaited) {
				return away(s.Describe(f.thing, time.Now()))
			}
			return err
		}
		if now, err := f.Presence(until, f.thing); err != nil || !now.Connected {
			continue // an error may pass, and the wait is bounded
		}
		f.notice("%s has connected", f.thing)
		if err := backoff.Sleep(ctx, subscribing); err != nil {
			return err
		}
		f.Wait = max(f.Wait-time.Since(began), min(f.Wait, leastWait))
		return nil
	}
}

func away(text string) error {
	return &Error{
		Reason: DeviceAbsent, Text: text,
		hint: "wait for it with --wait 10m; if its agent has another MQTT client id now (mqtt.client_id of culvertd), use --no-look",
	}
}
