package main

import (
	"context"
	"time"

	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// probeID is the id of connections that only show that a tunnel works.
const probeID = 0

// deviceState is what the service knows of the device's connection.
func (r *run) deviceState(tunnel int) tunnels.ConnectionState {
	record, err := r.box.Store.Describe(r.tunnels[tunnel].ID())
	if err != nil {
		return tunnels.ConnectionState{Status: tunnels.Disconnected}
	}
	return record.DestinationState
}

// deviceConnected reports whether the device's connection has stood for a second: long enough for the daemon to have
// written down that its tokens work.
func (r *run) deviceConnected(tunnel int) bool {
	state := r.deviceState(tunnel)
	return state.Status == tunnels.Connected && time.Since(state.LastUpdatedAt) > s
}

// deviceBack reports whether the device has come back since it was last lost.
func (r *run) deviceBack(tunnel int) bool {
	t := r.tunnels[tunnel]
	t.mu.Lock()
	need := t.needDevice
	t.mu.Unlock()
	state := r.deviceState(tunnel)
	return state.Status == tunnels.Connected && state.LastUpdatedAt.After(need)
}

// watch shows after each fault that a tunnel works again, and that none stops working without one.
func (r *run) watch(ctx context.Context, t *tunnel) {
	var told, stood time.Time // heal of the last complaint; when the connection began that works
	for pause(ctx, 25*ms) {
		heal, disturbed := r.ledger.disturbed(t.index)
		if !disturbed {
			state := r.deviceState(t.index)
			if _, now := r.ledger.disturbed(t.index); !now && !state.LastUpdatedAt.Equal(stood) {
				r.ledger.violated("tunnel %d: the device's websocket ended though no fault was felt: %+v, it stood since %v", t.index, state, stood)
				return
			}
			continue
		}
		if time.Since(heal) > r.limit && heal != told {
			told = heal
			r.ledger.violated("tunnel %d is not back %v after the last thing stood in its way: device %+v", t.index, r.limit, r.deviceState(t.index))
		}
		if r.ledger.isFiring(t.index) {
			continue
		}
		began := time.Now()
		if r.probe(ctx, t) {
			stood = r.deviceState(t.index).LastUpdatedAt
			r.ledger.settled(t.index, began, stood)
		}
	}
}

// probe carries a few bytes through the tunnel by way of the connections that it must have now.
func (r *run) probe(ctx context.Context, t *tunnel) bool {
	t.mu.Lock()
	up := t.source != nil && t.count >= t.needSource
	t.mu.Unlock()
	if !up || !r.deviceBack(t.index) {
		return false
	}
	if !t.plan.form.Service {
		if !t.serial.TryLock() {
			return false // its only stream is taken: the connection will tell
		}
		defer t.serial.Unlock()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*s)
	defer cancel()
	local, err := t.open(ctx, t.plan.services[len(t.plan.services)-1], false)
	if err != nil {
		return false
	}
	defer local.Close()
	side := &side{ctx: ctx, conn: local, limit: 10 * s, clock: r.ledger.count}
	_, err = side.client(&talk{id: probeID, kind: request, up: 100, down: 100})
	return err == nil
}

// measure watches what the daemon and the relay's judge have to say.
func (r *run) measure(ctx context.Context) {
	seen, maxRSS := 0, maxRSS
	if r.opts.race {
		maxRSS *= 10 // the detector's own
	}
	for pause(ctx, 500*ms) {
		if u, ok := r.daemon.measure(); ok && (u.rss > maxRSS || u.fds > maxDescriptors) {
			r.ledger.violated("culvertd holds %d kB and %d file descriptors; %d and %d are the limits", u.rss, u.fds, maxRSS, maxDescriptors)
			return
		}
		// It is killed now and then, and does not answer: that is not looked at here.
		if status, err := r.daemon.status(ctx); err == nil && status.Goroutines > maxGoroutines {
			r.ledger.violated("culvertd has %d goroutines; %d is the limit", status.Goroutines, maxGoroutines)
			return
		}
		r.ledger.sweep(time.Now().Add(-r.limit))
		list := r.box.Relay.Violations()
		for ; seen < len(list); seen++ {
			r.ledger.violated("the relay saw a violation of the protocol: %s of tunnel %s: %v", list[seen].Side, list[seen].Tunnel, &list[seen])
		}
	}
}
