package stream

import (
	"context"
	"net"
	"time"
)

const (
	// maxDials is how many targets a tunnel dials at a time. Further connections wait for their turn.
	maxDials = 64
	// dialReserve is how many targets a tunnel may dial at a time whatever the others do.
	dialReserve = 4
	// startBurst connections of a tunnel may start at once, and startRate a second after that. The reader
	// does not read on from a tunnel that starts more: a start costs its peer nothing.
	startBurst, startRate = 2 * maxConnections, 500
	// smallBurst frames of less than smallFrame bytes may come at once, and smallRate a second after that: a
	// flood of them would take the processor from the other tunnels. A sender that has more to say fills frames.
	smallBurst, smallRate, smallFrame = 20_000, 100_000, 512
	// strayBurst bytes for ended connections may come at once, as many as may be on their way, and strayRate a second
	// after that: twenty times AWS's limit. No other limit slows their sender down.
	strayBurst, strayRate = 32 << 20, 16 << 20
	// paceStep is the shortest wait for a turn.
	paceStep = 5 * time.Millisecond
)

// dialTurns bounds the dials of a tunnel at a time, within the budget that it shares.
type dialTurns struct {
	own    chan struct{} // a place for each dial of the tunnel
	spare  chan struct{} // a place for each that needs none of the shared ones
	shared chan struct{} // nil without a budget: then all places are own ones
}

func newDialTurns(b *Budget) *dialTurns {
	t := &dialTurns{own: make(chan struct{}, maxDials), spare: make(chan struct{}, maxDials)}
	if b != nil {
		t.spare, t.shared = make(chan struct{}, dialReserve), b.dials
	}
	return t
}

// wait waits for a turn until ctx ends. It returns the function that gives the turn back.
func (t *dialTurns) wait(ctx context.Context) (done func(), err error) {
	select {
	case t.own <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case t.shared <- struct{}{}:
		return func() { <-t.shared; <-t.own }, nil
	case t.spare <- struct{}{}:
		return func() { <-t.spare; <-t.own }, nil
	case <-ctx.Done():
		<-t.own
		return nil, context.Cause(ctx)
	}
}

// dial connects a service's target when it is the connection's turn.
func (m *mux) dial(ctx context.Context, service string) (net.Conn, error) {
	done, err := m.dials.wait(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return m.dialFunc(ctx, service)
}

// bucket is a token bucket of what a peer may cause without any cost of its own.
type bucket struct {
	rate, burst float64 // tokens a second, and at once
	used        float64 // tokens
	last        time.Time
}

// take takes n tokens and returns how long to wait until there is one for the next.
func (p *bucket) take(now time.Time, n int) time.Duration {
	p.used = max(p.used-now.Sub(p.last).Seconds()*p.rate, 0) + float64(n)
	p.last = now
	return time.Duration((p.used - p.burst) / p.rate * float64(time.Second))
}

// floods are the buckets of a tunnel's peer.
type floods struct {
	starts bucket // connections
	smalls bucket // frames
	strays bucket // bytes
}

func newFloods() floods {
	return floods{
		starts: bucket{rate: startRate, burst: startBurst},
		smalls: bucket{rate: smallRate, burst: smallBurst},
		strays: bucket{rate: strayRate, burst: strayBurst},
	}
}

// slowStarts keeps the reader from reading on while the peer starts more connections than it may.
func (m *mux) slowStarts() {
	now := time.Now()
	wait := m.floods.starts.take(now, 1)
	if wait < time.Second/startRate {
		return
	}
	m.warn("starts", "tunnel slowed down: it starts too many connections", "limit", startRate)
	m.slowDown(now.Add(wait))
}

// slowSmallFrames is slowStarts for frames that carry next to nothing.
func (m *mux) slowSmallFrames(payload int) {
	if payload >= smallFrame {
		return
	}
	now := time.Now()
	if wait := m.floods.smalls.take(now, 1); wait >= paceStep {
		m.warn("small frames", "tunnel slowed down: it sends too many small frames", "limit", smallRate)
		m.slowDown(now.Add(wait))
	}
}

// slowStrays is slowStarts for bytes of connections that have ended.
func (m *mux) slowStrays(n int) {
	now := time.Now()
	if wait := m.floods.strays.take(now, n); wait >= paceStep {
		m.warn("strays", "tunnel slowed down: it sends too much for connections that have ended", "limit", strayRate)
		m.slowDown(now.Add(wait))
	}
}

// slowDown keeps the reader from reading on until then.
func (m *mux) slowDown(until time.Time) {
	since := m.pauseReads(time.Time{})
	defer m.resumeReads(since)
	m.writeDeferred()
	for !m.ended && time.Now().Before(until) {
		m.backlog.waitFor(time.Until(until))
	}
}
