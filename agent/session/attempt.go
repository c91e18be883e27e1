package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/culvert-iot/culvert/proxy"
)

// attempt is one try to connect, and the life of the websocket that comes of it.
type attempt struct {
	s      *session
	tunnel Tunnel
	opened chan struct{} // has something once the handshake has succeeded
	lost   chan error    // has something once the websocket is gone; its connections may still be ending

	// Guarded by the session's lock.
	channelID string
	openedAt  time.Time // zero: the handshake has not succeeded
}

// connect makes one attempt and waits until its websocket is gone. Local connections may need a moment more to
// end; the next attempt does not wait for them. stood is how long the websocket stood, 0 if it
// never did.
func (s *session) connect(ctx context.Context) (stood time.Duration, err error) {
	a := &attempt{s: s, opened: make(chan struct{}, 1), lost: make(chan error, 1)}
	a.tunnel = s.cfg.NewTunnel(a.config())
	s.mu.Lock()
	s.attempts = append(s.attempts, a)
	s.status.Attempts++
	s.mu.Unlock()

	done := make(chan error, 1)
	go func() { done <- a.tunnel.Run(ctx) }()
	over := false
	for running := true; running; {
		select {
		case <-a.opened:
			s.keepWorked() // here and not in the callback: a slow disk must not hold up the tunnel
		case err = <-a.lost:
			running = false
		case err = <-done:
			running, over = false, true
		}
	}
	select {
	case <-a.opened: // it ended in the same moment
		s.keepWorked()
	default:
	}
	if err == nil {
		err = errors.New("the connection ended")
	}
	stood = a.stood()
	if over {
		a.finish(err, stood)
	} else {
		s.ending.Go(func() {
			<-done //nolint:errcheck // why is known already
			a.finish(err, stood)
		})
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.setError(err)
	var refused *proxy.HandshakeError
	if errors.As(err, &refused) && refused.ChannelID != "" {
		s.status.ChannelID = refused.ChannelID
	}
	if stood > 0 {
		s.policy.Opened()
	}
	return stood, err
}

// stood is how long the websocket has been standing, 0 if it never did.
func (a *attempt) stood() time.Duration {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if a.openedAt.IsZero() {
		return 0
	}
	return max(time.Since(a.openedAt), 1)
}

// finish takes the attempt's counts over, when its last connection has ended.
func (a *attempt) finish(err error, stood time.Duration) {
	s, final := a.s, a.tunnel.Stats()
	if stood > 0 {
		s.journal.tunnelClosed(a, final, stood, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services = merge(s.services, final)
	for i := range s.services {
		s.services[i].Connections = 0
	}
	s.attempts = slices.DeleteFunc(s.attempts, func(b *attempt) bool { return a == b })
}

// config is what the websocket is made of.
func (a *attempt) config() proxy.DestinationConfig {
	s := a.s
	c := proxy.DestinationConfig{
		Connection: proxy.Connection{
			Endpoint:    s.endpoint,
			Mode:        "destination",
			AccessToken: s.pair.access,
			ClientToken: s.pair.client,
			NetDial:     s.cfg.NetDial,
		},
		DialService: s.cfg.Services.Dial,
		DefaultService: func(tunnelServices []string) (string, error) {
			return defaultService(tunnelServices, s.notified, s.cfg.Services.Names())
		},
		Logger:       s.log,
		Budget:       s.cfg.budget,
		Resume:       s.cfg.resume,
		Owner:        s.key,
		OnOpen:       a.open,
		OnLost:       func(err error) { a.lost <- err },
		OnConnection: func(o proxy.Opened) func(proxy.Closed) { return s.journal.connection(a, o) },
	}
	if s.cfg.TLS != nil {
		c.Connection.TLS = s.cfg.TLS()
	}
	return c
}

// open is called when the handshake has succeeded.
func (a *attempt) open(channelID, subprotocol string) {
	s, now := a.s, time.Now()
	s.mu.Lock()
	a.channelID, a.openedAt = channelID, now
	s.mu.Unlock()
	if s.cfg.Connected != nil {
		s.cfg.Connected()
	}
	number := 0
	s.to(Connected, func(st *Status) {
		st.ChannelID, st.Subprotocol = channelID, subprotocol
		st.setError(nil)
		st.Connects++
		number = st.Attempts
	})
	s.journal.tunnelOpened(a, number)
	a.opened <- struct{}{}
}

// event returns an event of the attempt's websocket.
func (a *attempt) event(kind EventKind) Event {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	return Event{Kind: kind, Time: time.Now(), Session: s.id, ChannelID: a.channelID, Region: s.region, Services: s.notified}
}
