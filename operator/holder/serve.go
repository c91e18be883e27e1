package holder

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/accept"
	"github.com/culvert-iot/culvert/internal/loglimit"
	"github.com/culvert-iot/culvert/operator/connect"
)

// silenceEvery is the least time between two reports that a service is missing.
const silenceEvery = time.Minute

// Serve carries each connection that l accepts to service, until l, ctx or the tunnel ends. It closes l.
func (t *Tunnel) Serve(ctx context.Context, service string, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	all.Go(func() {
		select {
		case <-t.done:
			_ = l.Close()
		case <-ctx.Done():
		}
	})
	accepting := accept.Acceptor{Listener: l, Warn: func(err error) {
		t.event(connect.Event{Kind: connect.Notice, Text: "new connections to " + service + " wait: " + err.Error()})
	}}
	missing := loglimit.Limiter{Every: silenceEvery}
	var mu sync.Mutex
	once := func(e connect.Event) {
		mu.Lock()
		_, ok := missing.Allow(service, time.Now())
		mu.Unlock()
		if ok {
			t.event(e)
		}
	}
	for {
		local, err := accepting.Next(ctx)
		if err != nil {
			select {
			case <-t.done:
				return t.err
			default:
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		all.Go(func() {
			received, err := t.join(ctx, service, local)
			switch e, ok := endOf(t.client.Thing, service, received, err); {
			case !ok || ctx.Err() != nil:
			case e.Kind == connect.ServiceMissing:
				once(e)
			default:
				t.event(e)
			}
		})
	}
}

// endOf returns what is to be said of a connection's end, if anything: its service is missing only if nothing came.
func endOf(thing, service string, received int64, err error) (e connect.Event, ok bool) {
	switch {
	case received == 0 && isReason(err, connect.ServiceRefused):
		return connect.Event{Kind: connect.ServiceMissing, Service: service, Text: err.Error()}, true
	case err != nil && (received > 0 || !isReason(err, connect.ConnectionReset)):
		return connect.Event{Kind: connect.Notice, Service: service, Text: "connection to " + service + " ended: " + err.Error()}, true
	case received == 0:
		return connect.SilentService(thing, service), true
	}
	return connect.Event{}, false
}

// errClientReset is how the end of a client that has reset its connection is told to the holder.
var errClientReset = &connect.Error{Reason: connect.ConnectionReset, Text: "the client has reset the connection"}

// join carries local to service until both directions have ended, and closes it: with a reset if the end is not an orderly one.
func (t *Tunnel) join(ctx context.Context, service string, local net.Conn) (received int64, err error) {
	// A reset is what local sees until its last byte is on its way, even if this process is killed.
	linger := func(seconds int) {
		if l, ok := local.(interface{ SetLinger(seconds int) error }); ok {
			_ = l.SetLinger(seconds)
		}
	}
	linger(0)
	orderly := false
	defer func() {
		if !orderly {
			linger(0)
		}
		_ = local.Close()
	}()
	remote, err := t.Dial(ctx, service)
	if err != nil {
		return 0, err
	}
	defer remote.Close()
	defer context.AfterFunc(ctx, func() { _ = remote.Close() })()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(remote, local)
		if err == nil {
			_ = remote.(*stream).CloseWrite()
		} else {
			// The client has reset it, or the tunnel takes nothing more.
			_ = remote.SetWriteDeadline(time.Now().Add(time.Second))
			_ = remote.(*stream).end(errClientReset)
			_ = remote.Close()
		}
		sent <- err
	}()
	received, err = io.Copy(local, remote)
	if err != nil {
		err = tunnelError(err)
		_ = local.SetDeadline(time.Now())
		_ = remote.Close()
		<-sent //nolint:errcheck // the end is what counts
		return received, err
	}
	if half, ok := local.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	linger(-1)
	orderly = <-sent == nil
	return received, nil
}

func isReason(err error, want connect.Reason) bool {
	e, ok := errors.AsType[*connect.Error](err)
	return ok && e.Reason == want
}

// tunnelError returns the tunnel's error in one of io.Copy, without what a local socket's ReadFrom puts in front of it.
// It returns nil if the local end has failed.
func tunnelError(err error) error {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e
	}
	return nil
}
