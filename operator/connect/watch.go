package connect

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-iot/culvert/internal/loglimit"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
)

// How a tunnel in use is watched.
const (
	watchPoll = 15 * time.Second // while the device is there
	awayPoll  = 2 * time.Second
	// awayGrace is how long a device that keeps its state takes to come back by itself.
	awayGrace = 15 * time.Second
	// silenceEvery is how often one service is said to be silent.
	silenceEvery = time.Minute
)

// watchDevice says when the device leaves the tunnel and comes back, until ctx or the tunnel ends. A device that was back
// before it was seen to leave is not worth a line. One that has lost its state, as in a container that was replaced, waits to
// be notified: its token is rotated, which does that.
func (t *Tunnel) watchDevice(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-t.session.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	var away time.Time // since when, or zero
	var notified time.Time
	for delay := watchPoll; t.session.untilLook(ctx, delay); {
		present := t.session.current.Load()
		d, err := t.cfg.describe(ctx, present.id)
		if err != nil || d.Status != types.TunnelStatusOpen {
			continue // the source learns of the tunnel's end
		}
		at, connected := changed(d.DestinationConnectionState)
		now := time.Now()
		switch {
		case connected:
			t.session.deviceReturned(at)
			if t.session.setAway(false) {
				t.cfg.tell(DeviceBack, "%s is connected again", []any{t.thing})
			}
			away, notified, delay = time.Time{}, time.Time{}, watchPoll
		case away.IsZero():
			away, delay = now, awayPoll
			t.session.setAway(true)
			t.cfg.tell(DeviceLeft, "%s has left the tunnel", []any{t.thing})
		case t.session.isLostIn(present, d):
			// A rotation would end the device's connection to the other operator. This side learns of it with its next link.
		case now.Sub(away) >= awayGrace && now.Sub(notified) >= notifyEvery:
			if notified.IsZero() {
				t.cfg.adviseFull(ctx, t.thing, present.id)
			}
			notified = now
			t.cfg.step("notifying %s once more", t.thing)
			if err := t.cfg.notify(ctx, present.tunnel, t.thing); err != nil && ctx.Err() == nil {
				t.cfg.notice("the token of %s could not be rotated: %v", t.thing, err)
			}
			t.cfg.step("waiting for %s", t.thing)
		}
	}
}

// notify makes a new token for the device, which the service then sends it.
func (c *Config) notify(ctx context.Context, t *tunnel, thing string) error {
	_, err := c.API.RotateTunnelAccessToken(ctx, &iot.RotateTunnelAccessTokenInput{
		TunnelId: &t.id, ClientMode: types.ClientModeDestination,
		DestinationConfig: &types.DestinationConfig{ThingName: &thing, Services: t.services},
	})
	return err
}

// untilLook waits until the device is to be looked at again: after delay, or when there is a link while it is away. It
// returns false when ctx ends.
func (s *session) untilLook(ctx context.Context, delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.look:
		return true
	case <-ctx.Done():
		return false
	}
}

// setAway records whether the device was said to have left, and returns what was recorded before.
func (s *session) setAway(away bool) (was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, s.away = s.away, away
	return was
}

// deviceReturned records since when the device is connected. One that has come back may be another program.
func (s *session) deviceReturned(at time.Time) {
	s.mu.Lock()
	news := !s.device.IsZero() && at.After(s.device)
	s.device = at
	s.mu.Unlock()
	if news {
		s.forgetForm()
	}
}

// silence reports services that end connections without a byte, as a missing service does, and the reasons that a
// Culvert gives for a connection's end. It reports each service once in a while.
type silence struct {
	mu      sync.Mutex
	limit   loglimit.Limiter
	looking sync.WaitGroup // at ends
}

// watch returns local, for the tunnel, so that its end is looked at.
func (s *silence) watch(t *Tunnel, service string, local net.Conn) net.Conn {
	end, ok := local.(stream)
	if !ok {
		return local
	}
	c := &watchedConn{stream: end}
	look := func() {
		var e Event
		if told := t.explain(service, c.why); told != nil {
			e = Event{Kind: Notice, Service: service, Text: told.Text}
			if told.Reason == ServiceRefused && !c.answered.Load() {
				e.Kind = ServiceMissing
			}
		} else if c.isSilent() && t.session.failure() == nil {
			e = SilentService(t.thing, service)
		} else {
			return
		}
		s.mu.Lock()
		s.limit.Every = silenceEvery
		_, ok := s.limit.Allow(e.Text, time.Now())
		s.mu.Unlock()
		if ok {
			t.cfg.Progress(e)
		}
	}
	c.ended = func() { s.looking.Go(look) } // the caller holds the tunnel's lock
	return c
}

// watchedConn is a client's connection. The tunnel uses its descriptor directly.
type watchedConn struct {
	stream

	once     sync.Once
	answered atomic.Bool  // a byte came, on whatever websocket
	why      proxy.Reason // set before Close; "" after an orderly end
	ended    func()
}

// isSilent reports whether the service has ended the connection, without a byte.
func (c *watchedConn) isSilent() bool {
	return !c.answered.Load() && (c.why == "" || c.why == proxy.ByPeer)
}

// Write is for a tunnel that has no descriptor.
func (c *watchedConn) Write(p []byte) (int, error) {
	c.answered.Store(true)
	return c.stream.Write(p)
}

// SyscallConn is the descriptor for the tunnel, which writes only what came.
func (c *watchedConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.stream.SyscallConn()
	if err != nil {
		return nil, err
	}
	return watchedRaw{raw, c}, nil
}

type watchedRaw struct {
	syscall.RawConn

	conn *watchedConn
}

func (r watchedRaw) Write(f func(fd uintptr) bool) error {
	r.conn.answered.Store(true)
	return r.RawConn.Write(f)
}

// Break is called with the cause of an end that is not orderly.
func (c *watchedConn) Break(why proxy.Reason) { c.why = why }

func (c *watchedConn) Close() error {
	c.once.Do(c.ended)
	return c.stream.Close()
}

// NetConn is the client's connection, for its options: a death of this process resets it, too.
func (c *watchedConn) NetConn() net.Conn { return c.stream }

// SetLinger is called when the tunnel resets the connection. A Unix socket has no reset.
func (c *watchedConn) SetLinger(seconds int) error {
	if l, ok := c.stream.(lingerer); ok {
		return l.SetLinger(seconds)
	}
	return nil
}
