package holder

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/culvert-iot/culvert/operator/connect"
)

// opening is the search for a tunnel, shared by all sessions that wait for it.
type opening struct {
	services []string
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // after done

	waiting map[*session]bool
	events  []connect.Event // so far, for sessions that come later
}

// tunnelFor returns a tunnel with the services of r, and opens one if there is none. One is opened at a time.
func (s *Server) tunnelFor(ctx context.Context, r Request, who *session) (*held, error) {
	for {
		s.mu.Lock()
		if s.ending {
			s.mu.Unlock()
			return nil, errEnded
		}
		if t := s.find(r); t != nil {
			t.sessions[who] = true
			s.mu.Unlock()
			return t, nil
		}
		if r.Share != 0 {
			s.mu.Unlock()
			return nil, &connect.Error{Reason: connect.TunnelClosed, Text: "the tunnel has ended"}
		}
		o := s.opening
		if o == nil {
			o = s.open(r)
		}
		for _, e := range o.events {
			who.tell(e)
		}
		o.waiting[who] = true
		s.mu.Unlock()

		select {
		case <-o.done:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if delete(o.waiting, who); len(o.waiting) == 0 {
			o.cancel() // no command is left that wants it
		}
		s.mu.Unlock()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if o.err != nil && !errors.Is(o.err, context.Canceled) && covers(o.services, r.Services) {
			return nil, o.err
		}
	}
}

// find returns a held tunnel that serves r. The caller has mu.
func (s *Server) find(r Request) *held {
	s.tunnels = slices.DeleteFunc(s.tunnels, func(t *held) bool {
		if t.isOver() {
			go func() { _ = t.Close() }()
			return true
		}
		return false
	})
	for _, t := range slices.Backward(s.tunnels) {
		if r.Share == t.share || r.Share == 0 && covers(t.Services(), r.Services) && t.lasts() {
			return t
		}
	}
	return nil
}

func (t *held) isOver() bool {
	select {
	case <-t.Done():
		return true
	default:
		return false
	}
}

// lasts reports whether the tunnel has enough time left for a new session.
func (t *held) lasts() bool {
	end := t.Expires()
	return end.IsZero() || time.Until(end) >= min(connect.MinLeft, end.Sub(t.since)/2)
}

func covers(have, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(have, w) })
}

// open begins to open a tunnel. The caller has mu.
func (s *Server) open(r Request) *opening {
	ctx, cancel := context.WithCancel(s.ctx)
	o := &opening{services: r.Services, cancel: cancel, done: make(chan struct{}), waiting: map[*session]bool{}}
	s.opening = o
	tell := func(e connect.Event) {
		s.Logger.Info("progress", "text", e.Text)
		s.mu.Lock()
		defer s.mu.Unlock()
		o.events = append(o.events, e)
		for who := range o.waiting {
			who.tell(e)
		}
	}
	cfg := s.Config
	cfg.Lifetime, cfg.Wait, cfg.TakeOver, cfg.Keep, cfg.Price = r.Lifetime, r.Wait, r.TakeOver, r.Keep, r.Price
	cfg.WaitForAway = r.Away
	if s.Known != nil {
		cfg.Also = s.Known()
	}
	cfg.Logger = s.Logger
	cfg.Opened = func(string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.opened++
	}
	for _, t := range s.tunnels {
		o.events = append(o.events, connect.Event{Kind: connect.Notice, Text: other(t, r.Services)})
	}
	h := &held{since: time.Now(), sessions: map[*session]bool{}}
	var ready bool
	cfg.Progress = func(e connect.Event) {
		s.mu.Lock()
		up := ready
		s.mu.Unlock()
		if !up {
			tell(e)
			return
		}
		s.Logger.Info("progress", "text", e.Text)
		s.mu.Lock()
		defer s.mu.Unlock()
		for who := range h.sessions {
			if who.request.Op == opAttach { // the others are connections of these sessions
				who.tell(e)
			}
		}
	}
	go func() {
		t, err := s.openTunnel(ctx, cfg, s.Thing, r.Services)
		s.mu.Lock()
		defer s.mu.Unlock()
		defer close(o.done)
		o.err, s.opening = err, nil
		if err != nil {
			s.Logger.Warn("no tunnel", "error", err)
			return
		}
		ready = true
		h.tunnel = t
		s.shares++
		h.share = s.shares
		s.tunnels = append(s.tunnels, h)
		s.Logger.Info("tunnel held", "tunnel", t.ID(), "opened", t.Opened())
		go t.Watch(s.ctx)
		go func() {
			<-t.Done()
			s.tunnelEnded()
			_ = t.Close() // what it still does, and a successor that it found in vain
		}()
	}()
	return o
}

// other says why a held tunnel does not serve.
func other(t *held, wanted []string) string {
	if covers(t.Services(), wanted) {
		return "tunnel " + t.ID() + " ends soon"
	}
	i := slices.IndexFunc(wanted, func(w string) bool { return !slices.Contains(t.Services(), w) })
	return "tunnel " + t.ID() + " has no service " + wanted[i] + ", and AWS fixes a tunnel's services at its opening"
}
