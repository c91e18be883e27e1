package connect

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/accept"
	"github.com/culvert-iot/culvert/internal/backoff"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/proxy"
)

// closeTimeout bounds the call that closes a tunnel, when its caller is already leaving.
const closeTimeout = 5 * time.Second

// Tunnel is a way to a thing's services. It is safe for concurrent use.
type Tunnel struct {
	cfg     *Config
	thing   string
	session *session
	silence silence

	watching sync.Once
	keep     atomic.Bool

	closing  sync.Once
	closeErr error
}

// Open finds or opens a tunnel to thing with all of the services, and returns when both sides are connected to it.
// Close it. When Open fails it leaves nothing behind, but with Config.Keep, and but for a tunnel that another operator may be
// using, which a notice names. It may therefore take 10 s more when ctx ends: 5 s for the answer to a call of OpenTunnel,
// without which the tunnel cannot be closed, and 5 s to close it.
//
// Errors: *Error; those of the control API, which operator.Explain puts into words; and the cause of ctx.
func Open(ctx context.Context, cfg Config, thing string, services ...string) (*Tunnel, error) {
	if err := cfg.check(thing, services); err != nil {
		return nil, err
	}
	find := &finder{Config: &cfg, thing: thing, wanted: services, skip: map[string]bool{}}
	looking, stop := context.WithCancel(ctx)
	defer stop()
	find.lookOut(looking)
	for searches, again := searchPolicy(), true; ; {
		t, err := open(ctx, find)
		if e, ok := errors.AsType[*Error](err); ok && e.Reason == TakenOver && !cfg.New {
			// Another operator found the same tunnel at the same moment, and was faster.
			cfg.notice("%v, so another tunnel is needed", err)
			continue
		}
		if err != nil && find.before != nil && again {
			var delay time.Duration
			if delay, again = judge(&searches, err, time.Now()); again && backoff.Sleep(ctx, delay) == nil {
				cfg.notice("%v; looking whether AWS has opened a tunnel", operator.Explain(err))
				again = false
				continue
			}
		}
		if err != nil {
			find.closeUnanswered(false)
			if ctx.Err() != nil { // whatever failed, the caller has left
				err = context.Cause(ctx)
			}
		}
		return t, err
	}
}

func open(ctx context.Context, find *finder) (_ *Tunnel, err error) {
	cfg := find.Config
	found, err := find.find(ctx)
	if err != nil {
		return nil, err
	}
	find.skip[found.id] = true
	find.Config = cfg.withoutTakeOver()
	t := &Tunnel{cfg: cfg, thing: find.thing, session: newSession(cfg, found)}
	t.keep.Store(cfg.Keep)
	t.session.next.find = func(ctx context.Context) (*tunnel, error) {
		next, err := find.find(ctx)
		if err == nil {
			find.skip[next.id] = true
		}
		return next, err
	}
	t.session.next.forsake = func() { find.closeUnanswered(false) }
	t.session.next.await = func(ctx context.Context, next *tunnel) (time.Time, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, cfg.Wait, errWaited)
		defer cancel()
		w := &waiter{Config: cfg, thing: find.thing, tunnel: next}
		err := w.wait(ctx)
		return w.connected, err
	}
	t.session.start(ctx)
	defer func() {
		if err != nil {
			_ = t.Close()
		}
	}()

	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Wait, errWaited)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := make(chan struct{})
	var watching sync.WaitGroup
	defer watching.Wait()
	defer close(stop)
	watching.Go(func() { // a session that has failed needs no device any more
		select {
		case <-t.session.done:
			fail(t.session.failure())
		case <-stop:
		}
	})
	w := &waiter{Config: cfg, thing: find.thing, tunnel: found}
	if err := w.wait(ctx); err != nil {
		return nil, err
	}
	t.session.setDeviceSince(w.connected)
	cfg.step("connecting to the data endpoint")
	source, err := t.session.ready(ctx)
	if err == nil {
		source, err = t.session.confirmOwnership(ctx, source)
	}
	if errors.Is(err, errWaited) {
		return nil, &Error{Reason: NoDataPlane, Text: "no connection to " + cfg.DataEndpoint + " within " + cfg.Wait.String(), hint: "check the network and --data-endpoint"}
	}
	if err != nil {
		return nil, err
	}
	for _, s := range find.wanted {
		if offered := source.Services(); len(offered) > 0 && !slices.Contains(offered, s) {
			return nil, usage("tunnel %s has no service %s", found.id, s)
		}
	}
	return t, nil
}

// ID is the tunnel's. It changes where the tunnel was closed and another one carries on its connections.
func (t *Tunnel) ID() string { return t.session.tunnel().id }

// Opened reports whether the tunnel was opened here, and not found.
func (t *Tunnel) Opened() bool { return t.session.tunnel().opened }

// Services are the tunnel's, which are fixed at its opening.
func (t *Tunnel) Services() []string { return slices.Clone(t.session.tunnel().services) }

// Expires is when the tunnel ends at the latest; zero if the service did not say.
func (t *Tunnel) Expires() time.Time { return t.session.tunnel().expires }

// Watch reports to [Config].Progress when the device leaves the tunnel and comes back, and notifies a device that does
// not come back by itself, until ctx or the tunnel ends. [Tunnel.Serve] does the same.
func (t *Tunnel) Watch(ctx context.Context) { t.watching.Do(func() { t.watchDevice(ctx) }) }

// Keep replaces [Config].Keep.
func (t *Tunnel) Keep(keep bool) { t.keep.Store(keep) }

// Done is closed when the tunnel cannot be used any more: it was closed or has expired, another source took it over, or
// Close was called. A lost link is no end.
func (t *Tunnel) Done() <-chan struct{} { return t.session.done }

// Err tells why, after Done.
func (t *Tunnel) Err() error {
	if err := t.session.failure(); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// Carry gives local to the tunnel, which closes it when the connection has ended. It waits for a link that is down,
// until ctx ends. On an error local is left to the caller.
func (t *Tunnel) Carry(ctx context.Context, service string, local net.Conn) error {
	return t.session.carry(ctx, service, local)
}

// Serve carries each connection that l accepts to service, until l, ctx or the tunnel ends. It closes l.
func (t *Tunnel) Serve(ctx context.Context, service string, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		select {
		case <-t.Done():
			_ = l.Close()
		case <-ctx.Done():
		}
	})
	defer cancel()
	all.Go(func() { t.Watch(ctx) })
	accepting := accept.Acceptor{Listener: l, Warn: func(err error) {
		t.cfg.notice("new connections to %s wait: %s", service, hint.Line(err))
	}}
	for {
		local, err := accepting.Next(ctx)
		if err != nil {
			select {
			case <-t.Done():
				return t.Err()
			default:
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		all.Go(func() {
			err := t.Carry(ctx, service, t.silence.watch(t, service, local))
			if err == nil {
				return
			}
			abort(local)
			if errors.Is(err, proxy.ErrBusy) {
				t.cfg.notice("connection to %s refused: the device speaks V1 or V2 and has one open", service)
			}
			t.cfg.Logger.Warn("connection refused", "service", service, "error", err)
		})
	}
}

// Close disconnects this side, and closes the tunnel if it was opened here, unless another operator has taken it over, or may
// have: a notice says so then. With [Config].Keep it leaves the tunnel open and voids the source's token by rotating it. It
// takes 5 s at most, 10 s if there is a tunnel to follow this one or the answer to the opening of one was lost, and up to
// 15 s if one is just being opened.
func (t *Tunnel) Close() error {
	t.closing.Do(func() {
		t.session.stop()
		t.session.next.abandon(t.session)
		if !t.session.tunnel().opened {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if t.session.isOthers(ctx) {
			t.session.tellLeft(t.session.current.Load())
			return
		}
		if t.keep.Load() {
			_, err := t.cfg.API.RotateTunnelAccessToken(ctx, &iot.RotateTunnelAccessTokenInput{TunnelId: aws.String(t.session.tunnel().id), ClientMode: types.ClientModeSource})
			if err != nil && !isGone(err) {
				t.closeErr = err
			}
			return
		}
		if _, err := t.cfg.API.CloseTunnel(ctx, &iot.CloseTunnelInput{TunnelId: aws.String(t.session.tunnel().id)}); err != nil && !isGone(err) {
			t.closeErr = err
		}
	})
	return t.closeErr
}
